#!/usr/bin/env bash
# What is in k8s/, without a cluster: everything renders, install.yaml is what it says it is, and
# tests/k8s/check-manifests finds nothing: Kubernetes' own schema (where there is a copy of it), a
# policy, and the programs, which are given every list of arguments.
# timeout: 600
. "$(dirname "$0")/../lib.sh"

cp -r "$root/k8s" k8s
check=("$root/tests/k8s/check-manifests" --bin "$bin" --with k8s/install.yaml)
schema=${BASEWARM_K8S_SCHEMA:-$root/../shared/k8s/openapi-1.36.json}
if [ -e "$schema" ]; then
    check+=(--schema "$schema")
else
    untried "Kubernetes' schema: BASEWARM_K8S_SCHEMA names no copy of its OpenAPI definitions"
fi

if command -v kustomize >/dev/null; then
    step "all of it renders"
    render() { # DIRECTORY: to rendered-NAME.yaml
        kustomize build "k8s/$1" >"rendered-$(basename "$1").yaml" || fail "$1 does not render"
    }
    for directory in base overlays/rwx overlays/rwo-one-node overlays/namespace examples/site; do
        render $directory
    done
    add() { # NAME COMPONENT...: base with these components
        local name=$1
        shift
        mkdir "k8s/with-$name"
        { echo 'resources: [../base]' && echo 'components:' && printf -- '- ../components/%s\n' "$@"; } \
            >"k8s/with-$name/kustomization.yaml"
        render "with-$name"
    }
    for directory in k8s/components/*; do
        add "$(basename "$directory")" "$(basename "$directory")"
    done
    add all prefill-job prefill-shards node-daemonset registry-auth private-ca
    [ "$(find k8s/overlays k8s/components k8s/base -name kustomization.yaml | wc -l)" -eq 9 ] ||
        fail "something in k8s/ is not rendered here"

    step "credentials and CA reach every Pod that warms"
    for kind in CronJob/basewarm-refresh Job/basewarm-prefill Job/basewarm-prefill-shards DaemonSet/basewarm-node; do
        python3 - rendered-with-all.yaml "$kind" <<'PY' || fail "$kind lacks credentials or CA"
import sys, yaml
kind, name = sys.argv[2].split("/")
doc = next(d for d in yaml.safe_load_all(open(sys.argv[1])) if (d["kind"], d["metadata"]["name"]) == (kind, name))
spec = doc["spec"].get("jobTemplate", doc)["spec"]["template"]["spec"]
for container in spec["containers"] + spec.get("initContainers", []):
    names = {variable["name"] for variable in container["env"]}
    assert {"DOCKER_CONFIG", "SSL_CERT_DIR"} <= names, names
PY
    done

    step "install.yaml is overlays/rwx"
    diff k8s/install.yaml rendered-rwx.yaml ||
        fail "install.yaml is old: kustomize build k8s/overlays/rwx >k8s/install.yaml"

    step "one's own folder changes every image"
    expect_no_text rendered-site.yaml 'registry.example.org/basewarm'
    expect_text rendered-site.yaml 'harbor.corp.example/tools/basewarm'
else
    untried "kustomize, a package of another suite of Debian, could not be had: only what is not rendered"
fi

step "nothing is wrong with it"
shopt -s nullglob
expect_exit 0 "${check[@]}" k8s/install.yaml k8s/examples/*.yaml rendered-*.yaml

step "the checks find what is planted"
[ ! -e rendered-with-all.yaml ] ||
    expect_exit 0 "${check[@]}" --break rendered-with-all.yaml rendered-namespace.yaml k8s/examples/*.yaml
cat out

step "GitLab's files name the same volume, and mount it read-only"
python3 - k8s/examples/gitlab-runner.toml k8s/examples/gitlab-ci.yml <<'PY'
import sys, tomllib, yaml
with open(sys.argv[1], "rb") as file:
    claim, = tomllib.load(file)["runners"][0]["kubernetes"]["volumes"]["pvc"]
assert claim["name"] == "basewarm-cache" and claim["read_only"] is True, claim
script, = yaml.safe_load(open(sys.argv[2]))["build"]["script"]
assert f"--cache-dir={claim['mount_path']} " in script and "--cache=true " in script, script
PY
