# Written by Ashore from templates/systemd/port.sh.j2: edit that, not this. [seal 0ae231e6e232]
# The port of an app that is a server of its own: port.sh choose|bridge|close APP RELEASE [shared|alone|SECONDS]. The
# unit of a release calls it as root, in the network and the file systems of the machine.
# choose: a free port, or if the app is alone in its network any port; only root and the app itself may connect to it.
# bridge: what comes to the release's socket goes to that port, on which the app has so many seconds to listen. close: the port is nobody's again.
set -eu
umask 022
verb=$1 app=$2 release=$3 network=${4:-} seconds=${4:-}
room=/run/$app/$release
first=21000 last=21999
PROXYD=/usr/lib/systemd/systemd-socket-proxyd
[ -x "$PROXYD" ] || PROXYD=/lib/systemd/systemd-socket-proxyd

rules() {
    nft -f - <<END
table inet ashore_ports {
    set ports { type inet_service; }
    set allowed { type inet_service . uid; }
    chain output { type filter hook output priority 0; }
    chain input { type filter hook input priority -1; }
}
flush chain inet ashore_ports output
flush chain inet ashore_ports input
add rule inet ashore_ports output oifname "lo" tcp dport @ports tcp dport . meta skuid != @allowed reject with tcp reset
add rule inet ashore_ports input iifname != "lo" tcp dport @ports drop
END
}

forget() {
    nft delete element inet ashore_ports ports "{ $1 }" 2>/dev/null || true
    for uid in 0 "$(id -u "$app")"; do
        nft delete element inet ashore_ports allowed "{ $1 . $uid }" 2>/dev/null || true
    done
}

# Where the app listens on its port, as an address to connect to; nothing as long as it does not. Only what the app's
# own user listens on counts.
listens() {
    hex=$(printf %04X "$1") uid=$(id -u "$app")
    awk -v port="$hex" -v uid="$uid" -v number="$1" '
        $4 == "0A" && $8 == uid && substr($2, length($2) - 3) == port {
            address = substr($2, 1, length($2) - 5)
            if (address == "00000000000000000000000001000000") sixth = "[::1]:" number
            else fourth = "127.0.0.1:" number
        }
        END { print fourth != "" ? fourth : sixth }' "/proc/$MAINPID/net/tcp" "/proc/$MAINPID/net/tcp6" 2>/dev/null || true
}

# The ports that the app's user listens on, but those that the kit has chosen; for an app that does not know of $PORT.
others() {
    awk -v uid="$(id -u "$app")" '$4 == "0A" && $8 == uid { print substr($2, length($2) - 3) }' \
        "/proc/$MAINPID/net/tcp" "/proc/$MAINPID/net/tcp6" 2>/dev/null | sort -u | while read -r hex; do
        port=$((0x$hex))
        [ "$port" -ge "$first" ] && [ "$port" -le "$last" ] || echo "$port"
    done
}

since_boot() {
    cut -d. -f1 /proc/uptime  # the clock may be set meanwhile
}

case $verb in
choose)
    if [ "$network" = alone ]; then
        echo "PORT=8000" >"$room/port"
        exit 0
    fi
    mkdir -p -m 700 /run/ashore
    exec 9>/run/ashore/shared-ports.lock
    flock 9
    rules
    port=$first
    while cat /run/*/*/port 2>/dev/null | grep -qx "PORT=$port" ||
        awk -v port="$(printf %04X $port)" '$4 == "0A" && substr($2, length($2) - 3) == port { found = 1 } END { exit !found }' \
            /proc/net/tcp /proc/net/tcp6; do
        port=$((port + 1))
        if [ "$port" -gt "$last" ]; then
            echo "no port between $first and $last is free" >&2
            exit 1
        fi
    done
    nft add element inet ashore_ports allowed "{ $port . 0, $port . $(id -u "$app") }"
    nft add element inet ashore_ports ports "{ $port }"
    echo "PORT=$port" >"$room/port"
    ;;
bridge)
    port=$(sed -n 's/^PORT=//p' "$room/port") ends=$(($(since_boot) + seconds))
    until address=$(listens "$port") && [ -n "$address" ]; do
        kill -0 "${MAINPID:-}" 2>/dev/null || { echo "$app@$release ended before it listened on port $port" >&2; exit 1; }
        if [ "$(since_boot)" -gt "$ends" ]; then
            elsewhere=$(others | tr '\n' ' ')
            echo "it does not listen on \$PORT, which is $port${elsewhere:+; it listens on $elsewhere}" >&2
            exit 1
        fi
        sleep 0.05
    done
    unit=$app-bridge-$release.service
    systemctl stop "$unit" 2>/dev/null || true  # of the start before this one
    rm -f "$room/own/http.sock"
    systemd-run --quiet --collect --unit="$unit" -p Description="$app, release $release: its socket leads to port $port" \
        -p BindsTo="$app@$release.service" -p User="$app" -p Group="$app" -p UMask=0007 \
        -p NetworkNamespacePath="/proc/$MAINPID/ns/net" -p ProtectSystem=strict -p ReadWritePaths="$room/own" \
        -p NoNewPrivileges=yes -p ProtectHome=yes -p PrivateDevices=yes -p PrivateTmp=yes -p CapabilityBoundingSet= \
        -p PrivateIPC=yes -p PrivateMounts=yes -p PrivateUsers=yes -p ProtectProc=invisible -p ProcSubset=pid \
        -p ProtectClock=yes -p ProtectHostname=yes -p ProtectKernelLogs=yes -p ProtectKernelModules=yes \
        -p ProtectKernelTunables=yes -p ProtectControlGroups=yes -p RestrictNamespaces=yes -p RestrictRealtime=yes \
        -p RestrictSUIDSGID=yes -p LockPersonality=yes -p MemoryDenyWriteExecute=yes -p SystemCallArchitectures=native \
        -p IPAddressDeny=any -p IPAddressAllow=localhost -p InaccessiblePaths="-/run/dbus -/run/ashore" \
        -p RestrictAddressFamilies="AF_UNIX AF_INET AF_INET6" -p SystemCallFilter=@system-service -p SystemCallErrorNumber=EPERM -p LimitNOFILE=65536 \
        -p ExecStopPost="+/bin/sh -c '[ \$SERVICE_RESULT = success ] || systemctl try-restart --no-block $app@$release.service'" \
        /usr/bin/systemd-socket-activate --listen="$room/own/http.sock" "$PROXYD" --connections-max=4096 "$address"
    ;;
close)
    systemctl stop --no-block "$app-bridge-$release.service" 2>/dev/null || true
    if [ -e "$room/port" ]; then
        forget "$(sed -n 's/^PORT=//p' "$room/port")"
        rm -f "$room/port"
    fi
    ;;
esac
