# Written by Ashore from templates/caddy/caddy.sh.j2: edit that, not this. [seal 2e39f6a08f30]
# What is done as root for Caddy: sh caddy.sh certificates|drain|test|regroup|show APP. See caddy.service.d/50-ashore.conf.
set -eu
umask 022
config=/etc/caddy/ashore/Caddyfile
shown=/run/ashore-caddy

# The certificates in use, where Caddy can read them: their keys in /srv are for root only.
certificates() {
    install -d -m 750 -g caddy "$shown"
    for site in /etc/caddy/ashore/sites/*.caddy; do
        app=$(basename "$site" .caddy)
        live=/srv/$app/tls/live
        [ -e "$live/privkey.pem" ] || continue
        install -d -m 750 -g caddy "$shown/$app"
        for name in fullchain privkey; do
            install -m 640 -g caddy "$live/$name.pem" "$shown/$app/.$name.pem"
            mv "$shown/$app/.$name.pem" "$shown/$app/$name.pem"
        done
    done
}

# Kept connections of visitors are closed, each by an answer that says so: see ashore-closing in shared.caddy.
drain() {
    directory=/run/ashore-drain
    mkdir -p "$directory"
    now=$(date +%s)
    for second in -2 -1 0 1 2 3 4 5 6 7 8 9; do
        : >"$directory/$((now + second))"
    done
    for old in "$directory"/*; do
        [ "${old##*/}" -ge $((now - 2)) ] || rm -f "$old"
    done
    # Those who are there already have two seconds to hear of it.
    if cat /proc/self/net/tcp /proc/self/net/tcp6 2>/dev/null | grep -Eq '^ *[0-9]+: [0-9A-F]+:(0050|01BB) [0-9A-F]+:[0-9A-F]{4} 01 '; then
        sleep 2
    fi
    # The old listening socket is closed soon: who waits in its queue goes to the new one.
    sysctl -qw net.ipv4.tcp_migrate_req=1 2>/dev/null || true
}

as_caddy() {
    setpriv --reuid caddy --regid caddy --init-groups --bounding-set=-all --inh-caps=-all -- \
        env HOME=/var/lib/caddy XDG_CONFIG_HOME=/var/lib/caddy/.config XDG_DATA_HOME=/var/lib/caddy/.local/share "$@"
}

# Caddy is replaced by one that is in the groups of today, and no request is lost: a second Caddy with the same config takes
# visitors meanwhile, on the same ports.
regroup() {
    unit=ashore-caddy-meanwhile
    certificates
    sed "s#unix//run/caddy/admin.sock#unix//run/$unit/admin.sock#" "$config" >"$shown/Caddyfile"
    systemd-run --quiet --collect --unit=$unit -p Type=notify -p User=caddy -p Group=caddy -p RuntimeDirectory=$unit \
        -p AmbientCapabilities=CAP_NET_BIND_SERVICE -p CapabilityBoundingSet=CAP_NET_BIND_SERVICE -p NoNewPrivileges=yes \
        -p ProtectSystem=strict -p ReadWritePaths="/var/lib/caddy /var/log/caddy" -p TimeoutStopSec=40 \
        /usr/bin/caddy run --config "$shown/Caddyfile" --adapter caddyfile
    drain
    systemctl restart caddy
    drain
    systemctl stop $unit
}

# An app's data for visitors, mounted so that links in it are not followed. It is mounted elsewhere first, and then moved to
# its place: Caddy, which has mounts of its own, gets it as it was when it came there.
show() {
    where=/run/ashore-data/$1 stage=/run/ashore-stage
    mountpoint -q "$where" && return
    mkdir -p "$where" "$stage"
    mountpoint -q "$stage" || mount -t tmpfs -o mode=700,size=64k ashore "$stage"
    mount --make-private "$stage"
    mkdir -p "$stage/$1"
    mount --bind "/var/lib/$1" "$stage/$1"
    if mount -o remount,bind,ro,nosymfollow,nosuid,nodev,noexec "$stage/$1"; then
        mount --move "$stage/$1" "$where"
        umount "$stage"
    else
        umount "$stage/$1"
        echo "this kernel cannot mount without following links, which Caddy needs to serve an app's data" >&2
        exit 1
    fi
}

case $1 in
certificates) certificates ;;
show) show "$2" ;;
drain) drain ;;
regroup) regroup ;;
test)
    certificates
    as_caddy caddy validate --config "$config"
    ;;
*) exit 64 ;;
esac
