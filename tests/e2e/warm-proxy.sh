#!/usr/bin/env bash
# Through a proxy, as the environment names it: plain requests, tunnels, its password, NO_PROXY. In a
# network of its own, since nothing goes to a loopback address through a proxy.
. "$(dirname "$0")/../lib.sh"

if [ -z "${IN_NAMESPACE-}" ]; then
    unshare -rnm true 2>/dev/null || skip "no namespaces here"
    IN_NAMESPACE=1 exec unshare -rnm "$root/tests/e2e/$test_name.sh"
fi
ip link set lo up
ip addr add 10.1.2.3 dev lo
printf '127.0.0.1 localhost\n10.1.2.3 registry.example\n' >hosts
mount --bind hosts /etc/hosts

start_registry
make_certificates
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -CA ca.pem -CAkey ca.key \
    -subj /CN=registry.example -addext basicConstraints=critical,CA:FALSE \
    -addext subjectAltName=DNS:registry.example -keyout inside.key -out inside.pem 2>/dev/null
nginx_log=$scratch/nginx.log
mkdir -p nginx
cat >nginx.conf <<CONF
daemon off;
user root; # of the namespace
master_process off;
pid $scratch/nginx/pid;
error_log $scratch/nginx-error.log;
events {}
http {
    access_log $nginx_log;
    client_body_temp_path $scratch/nginx/body;
    proxy_temp_path $scratch/nginx/proxy;
    fastcgi_temp_path $scratch/nginx/fastcgi;
    uwsgi_temp_path $scratch/nginx/uwsgi;
    scgi_temp_path $scratch/nginx/scgi;
    server {
        listen 10.1.2.3:80;
        listen 10.1.2.3:443 ssl;
        ssl_certificate $scratch/inside.pem;
        ssl_certificate_key $scratch/inside.key;
        location / {
            proxy_pass http://$registry;
            proxy_set_header Host \$http_host;
        }
    }
}
CONF
serve nginx-error.log nginx -e "$scratch/nginx-error.log" -c "$scratch/nginx.conf"
wait_for "nginx's start" curl -sk -o /dev/null https://registry.example/

proxy_log=$scratch/proxy.log
proxy_port=$(free_port)
cat >proxy.conf <<CONF
Port $proxy_port
Listen 127.0.0.1
LogFile "$proxy_log"
LogLevel Connect
BasicAuth carol secret
ConnectPort 443
CONF
serve tinyproxy.out tinyproxy -d -c "$scratch/proxy.conf"
wait_for "tinyproxy's start" curl -s -o /dev/null "http://127.0.0.1:$proxy_port/"
proxy=http://carol:secret@127.0.0.1:$proxy_port
image=registry.example/base:1
ca=(--registry-certificate "registry.example=$scratch/ca.pem")

# Warm from nothing; the proxy has seen requests of this kind, or none ("").
through() { # KIND WARMER-OPTION...
    local kind=$1 seen
    shift
    : >"$proxy_log"
    rm -rf "$cache"
    warm --image "$image" "$@"
    expect_exit 0 cachedir -c "$cache" verify
    seen=$(sed -n 's/.*Request (file descriptor [0-9]*): \([A-Z]*\) .*/\1/p' "$proxy_log" | sort -u | tr '\n' ' ')
    expect_equal "$kind" "$seen" "what the proxy was asked"
}

step "HTTPS_PROXY: a tunnel"
HTTPS_PROXY=$proxy through "CONNECT " "${ca[@]}"
https_proxy=$proxy through "CONNECT " "${ca[@]}"

step "HTTP_PROXY: requests that it passes on"
HTTP_PROXY=$proxy through "GET HEAD " --insecure-registry registry.example

step "one is not for the other, and NO_PROXY is for neither"
HTTP_PROXY=$proxy through "" "${ca[@]}"
for no in registry.example .example example 10.0.0.0/8,registry.example:443 '*'; do
    HTTPS_PROXY=$proxy NO_PROXY=$no through "" "${ca[@]}"
done

step "its password is wrong: refused, nothing of it is said"
rm -rf "$cache"
HTTPS_PROXY=http://carol:wrongly@127.0.0.1:$proxy_port expect_exit 77 warmer --cache-dir "$cache" \
    --retries 0 --image "$image" "${ca[@]}"
expect_text err 'proxy.* 40[17] '
expect_no_text err 'wrongly|secret'

step "it is not there: worth another try"
HTTPS_PROXY=http://127.0.0.1:$(free_port) expect_exit 75 warmer --cache-dir "$cache" --retries 0 \
    --image "$image" "${ca[@]}"
expect_text err 'proxy'
