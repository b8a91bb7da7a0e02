# Written by Ashore from templates/certbot/hook.sh.j2: edit that, not this. [seal 2aa75096421e]
# Puts a certificate live: sh certificate-hook.sh [DIRECTORY APP]. certbot calls it without words after each new one, and
# has its directory in RENEWED_LINEAGE, which is named after the app. What Caddy does not take is put back.
set -eu
from=${1:-$RENEWED_LINEAGE}
app=${2:-$(basename "$from")}
tls=/srv/$app/tls
[ -d "$tls" ] || exit 0  # somebody else's certificate
exec 9>>"$tls/.lock"
flock 9
trap 'rm -rf "$tls/.brought" "$tls/.fresh"' EXIT

public=$(openssl x509 -in "$from/fullchain.pem" -noout -pubkey)
if [ "$public" != "$(openssl pkey -in "$from/privkey.pem" -pubout)" ]; then
    echo "the certificate in $from and its key do not belong together" >&2
    exit 1
fi
fresh=$(openssl x509 -in "$from/fullchain.pem" -noout -fingerprint -sha256 | sed 's/.*=//; s/://g' | cut -c1-16)
before=$(readlink "$tls/live" || true)

rm -rf "$tls/.fresh"
mkdir -m 750 "$tls/.fresh"
install -m 644 "$from/fullchain.pem" "$tls/.fresh/fullchain.pem"
install -m 600 "$from/privkey.pem" "$tls/.fresh/privkey.pem"
touch "$tls/.fresh/trusted"
chgrp -R "$app" "$tls/.fresh"
if [ "$fresh" != "$before" ]; then
    rm -rf "${tls:?}/$fresh"
    mv "$tls/.fresh" "$tls/$fresh"
    ln -sfn "$fresh" "$tls/.live"
    mv -T "$tls/.live" "$tls/live"
fi
sync -f "$tls"

if ! sh /usr/local/lib/ashore/caddy.sh test; then
    if [ -n "$before" ] && [ "$before" != "$fresh" ]; then
        ln -sfn "$before" "$tls/.live"
        mv -T "$tls/.live" "$tls/live"
        rm -rf "${tls:?}/$fresh"
    fi
    echo "caddy did not take the certificate; the one before is back" >&2
    exit 1
fi
if systemctl is-active --quiet caddy; then
    systemctl reload caddy
fi
for old in "$tls"/*; do
    name=$(basename "$old")
    case "$name" in live | "$fresh" | "$before") ;; *) rm -rf "$old" ;; esac
done
