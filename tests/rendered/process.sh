# Written by Ashore from templates/systemd/process.sh.j2: edit that, not this. [seal b06684c00239]
# The processes and timers of releases: process.sh begin|alone|ended APP RELEASE NAME, called by their units as root;
# process.sh follow APP PID, called by a deploy.
set -eu
umask 022
verb=$1 app=$2 release=$3 name=${4:-}

is_job() {
    [ -e "/etc/systemd/system/${1%.service}.timer" ]
}

case $verb in
begin)
    # The first four starts within a minute follow each other at once, those after them ten seconds later: each is told of
    # in the journal that all share.
    mkdir -p -m 700 /run/ashore/starting
    starts=/run/ashore/starts-$app.$name now=$(date +%s)
    echo "$release $now" >>"$starts"
    tail -n 20 "$starts" >"$starts.new"
    mv -f "$starts.new" "$starts"
    if [ "$(awk -v release="$release" -v since=$((now - 60)) '$1 == release && $2 > since' "$starts" | wc -l)" -gt 4 ]; then
        echo "$name has started more than four times within a minute: the next start is in 10 s"
        sleep 10
    fi
    ;;
alone)
    # A release that has no traffic any more waits for nobody, so no two wait for each other.
    while [ "$(readlink "/srv/$app/current")" = "releases/$release" ] &&
        systemctl list-units --plain --no-legend --state=activating,active "$app@*.$name.service" |
        awk -v own="$app@$release.$name.service" '$1 != own { found = 1 } END { exit !found }'; do
        sleep 1
    done
    mkdir -p -m 700 "/var/lib/ashore/$app/timers"
    date +%s >"/var/lib/ashore/$app/timers/$name.began"
    ;;
ended)
    cd "/var/lib/ashore/$app/timers"
    [ -e "$name.began" ] || exit 0
    printf '{"release": "%s", "began": %s, "ended": %s, "result": "%s", "status": "%s"}\n' \
        "$release" "$(cat "$name.began")" "$(date +%s)" "${SERVICE_RESULT:-}" "${EXIT_STATUS:-}" >".$name"
    mv -f ".$name" "$name.last"
    rm -f "$name.began"
    ;;
follow)
    # Should a deploy be killed, the processes follow the traffic: those of the release that has it run, and no others.
    pid=$release
    tail --pid="$pid" -f /dev/null
    exec 9<>"/run/ashore/app-$app.lock"
    flock -n 9 || exit 0  # the next one is at it already
    flock -u 9
    current=$(readlink "/srv/$app/current" || true)
    current=${current#releases/}
    systemctl list-units --plain --no-legend --all "$app@*.*.timer" "$app@*.*.service" | tr -d '●' | awk '{ print $1 }' |
        while read -r unit; do
            case $unit in
            "$app@$current."*) ;;
            *) is_job "$unit" || systemctl stop --no-block "$unit" ;;
            esac
        done
    for link in /etc/systemd/system/*.wants/"$app@"????????-??????.*; do
        case ${link##*/} in
        "$app@$current."*) ;;
        *) rm -f "$link" ;;
        esac
    done
    for file in "/etc/systemd/system/$app@$current."*; do
        unit=${file##*/}
        if [ -e "$file" ] && [ -n "$current" ] && ! is_job "$unit"; then
            systemctl start --no-block "$unit"
            wants=/etc/systemd/system/multi-user.target.wants
            [ "${unit##*.}" != timer ] || wants=/etc/systemd/system/timers.target.wants
            mkdir -p "$wants"
            ln -sfn "$file" "$wants/$unit"
        fi
    done
    rm -f "/run/ashore/starting/$app@"*
    ;;
esac
