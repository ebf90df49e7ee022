#!/bin/sh
# The root file system of the image: rootfs.sh <folder> <artifact> <program>... Programs, the libraries that
# they load and no others, the dynamic linker, CA certificates, a user, the model. No shell, no package
# manager, but what dpkg says of every package a file came from, where scanners look for it, and its terms.
# The Dockerfile copies what this makes. Needs Debian: a file that no package vouches for is refused.
set -eu

root=$1 artifact=$2
shift 2
rm -rf "$root"
mkdir -p "$root/usr/bin" "$root/mnt/models" "$root/usr/share/doc/ridged" "$root/var/lib/dpkg/status.d"
fail() {
    echo "rootfs: $1" >&2
    exit 1
}

# vouch <file of a package> <path in the image>: notes there, as dpkg would, whose file it is.
vouch() {
    # What was /lib/... is known by either name since / and /usr were merged.
    package=$(dpkg-query -S "$1" 2>/dev/null || dpkg-query -S "${1#/usr}" 2>/dev/null) ||
        fail "$1: expected a file of a Debian package"
    package=${package%%:*}
    notes=$root/var/lib/dpkg/status.d/$package
    terms=/usr/share/doc/$package/copyright
    if [ ! -f "$notes" ]; then
        dpkg-query -s "$package" >"$notes"
        install -D -m 644 "$terms" "$root$terms"
        (cd "$root" && md5sum "${terms#/}") >"$notes.md5sums"
    fi
    (cd "$root" && md5sum "${2#/}") >>"$notes.md5sums"
}

install -s -m 755 "$@" "$root/usr/bin/"
# Through a file: a pipe would hide that ldd failed.
ldd "$@" >"$root.libraries"
# "libc.so.6 => /lib/.../libc.so.6 (0x...)" and "/lib64/ld-linux-x86-64.so.2 (0x...)"
libraries=$(sed -n 's/^.* => \(\/[^ ]*\) .*/\1/p; s/^\t\(\/[^ ]*\) .*/\1/p' "$root.libraries" | sort -u)
rm "$root.libraries"
for library in $libraries; do
    mkdir -p "$root${library%/*}"
    install -m 755 "$library" "$root$library" # under the name it is looked for
    vouch "$(readlink -f "$library")" "$library"
done

# update-ca-certificates made the bundle of what its package brings.
bundle=/etc/ssl/certs/ca-certificates.crt
install -D -m 644 $bundle "$root$bundle"
vouch /usr/sbin/update-ca-certificates $bundle

# By these a scanner tells the distribution, and with it whose security notices count.
for file in /usr/lib/os-release /etc/debian_version /usr/share/common-licenses/*; do
    install -D -m 644 "$file" "$root$file"
    vouch "$(readlink -f "$file")" "$file"
done
ln -s ../usr/lib/os-release "$root/etc/os-release"

echo 'ridged:x:1000:1000::/:/nonexistent' >"$root/etc/passwd"
echo 'ridged:x:1000:' >"$root/etc/group"
cat LICENSE server/predictor/ui/vendor/uplot/LICENSE >"$root/usr/share/doc/ridged/copyright"
install -m 644 "$artifact" "$root/mnt/models/model.json"
build/ridge inspect "$root/mnt/models/model.json" >/dev/null

find "$root" -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +
