#!/usr/bin/env bash
# The container image in the short set: built and run only if its recipe is not the one with which
# image.sh, of the long set, last passed.
# timeout: 7200
. "$(dirname "$0")/../lib.sh"
. "$root/tests/lib-image.sh"

as_ever() {
    ! "$root/tests/k8s/image-recipe" --same ||
        skip "the image's recipe is the one that image.sh, of the long set, last passed with"
}

as_ever
need_image_tools # waits for image.sh, if that runs, too
as_ever
cd / && rm -rf "$scratch"
exec "$root/tests/e2e/image.sh"
