#!/bin/sh
# The root file system of the image: rootfs.sh <folder> <program>... Programs, the libraries that they load
# and no others, the dynamic linker, CA certificates, a user, the bundled model. No shell, no package
# manager. The Dockerfile copies what this makes; `make image-test` runs it without a container engine.
set -eu

root=$1
shift
rm -rf "$root"
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/mnt/models"
for program; do
    install -m 755 "$program" "$root/usr/bin/"
    # "libc.so.6 => /lib/.../libc.so.6 (0x...)" and "/lib64/ld-linux-x86-64.so.2 (0x...)"
    ldd "$program" | sed -n 's/^.* => \(\/[^ ]*\) .*/\1/p; s/^\t\(\/[^ ]*\) .*/\1/p'
done | sort -u | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library" # under the name it is looked for
    chmod 755 "$root$library"
done
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'ridged:x:1000:1000::/:/nonexistent' >"$root/etc/passwd"
echo 'ridged:x:1000:' >"$root/etc/group"
install -m 644 model/california-housing.json "$root/mnt/models/model.json"
