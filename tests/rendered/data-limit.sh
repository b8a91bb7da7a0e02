# Written by Ashore from templates/systemd/data-limit.sh.j2: edit that, not this. [seal cf246b7bdf21]
# Usage: data-limit.sh APP MEGABYTES. Run every 20 seconds by ashore-data-APP.timer: while an app's data in /var/lib/APP
# takes more than MEGABYTES (0: half of the disk), or half of the disk's inodes, it is read-only for the app.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
app=$1 megabytes=$2
data=/var/lib/$app
note=/run/ashore/data-$app waited=/run/ashore/data-$app.waited lock=/run/ashore/app-$app.lock
drop_in=50-ashore-data.conf
[ -d "$data" ] || exit 0

# Of the disk that the data is on: all in kB, but for inodes.
set -- $(stat -f -c '%S %b %f %a %c %d' "$data")
disk=$(($1 * $2 / 1024)) used=$(($1 * ($2 - $3) / 1024)) free=$(($1 * $4 / 1024)) inodes=$5 inodes_used=$(($5 - $6))
most=$((megabytes * 1024))
[ "$megabytes" -gt 0 ] || most=$((disk / 2))
bound=$((most / 1024)) most_inodes=$((inodes / 2))
# Writable again with a little less, or it would come and go.
if [ -e "$note" ]; then most=$((most / 100 * 95)) most_inodes=$((most_inodes / 100 * 95)); fi

# Files that were deleted while a process of the app has them open, or mapped: they still take room.
deleted() {
    for pid in $(pgrep -U "$app" || true); do
        find -L "/proc/$pid/fd" "/proc/$pid/map_files" -links 0 -type f -printf '%D %i %b\n' 2>/dev/null || true
    done | awk -v disk="$(stat -c %d "$data")" \
        '$1 == disk && !seen[$2]++ { kilobytes += $3 / 2 } END { printf "%d", kilobytes }'
}

# Counting costs time, so it is left out where all files of the disk together are not too many.
takes=0 files=0
if [ "$used" -gt "$most" ]; then
    takes=$(du -skx "$data" 2>/dev/null | awk '{ print $1 }') || true
    takes=$((${takes:-0} + $(deleted)))
fi
if [ "$inodes" -gt 0 ] && [ "$inodes_used" -gt "$most_inodes" ]; then
    files=$(du -sx --inodes "$data" 2>/dev/null | awk '{ print $1 }') || true
fi

# Whether somebody deploys at the moment: a new instance may write at first, so that it can show that it works.
at_work() {
    [ -e "$lock" ] && awk -v inode=":$(stat -c %i "$lock")" \
        '$2 == "FLOCK" && $4 == "WRITE" && substr($6, length($6) - length(inode) + 1) == inode { found = 1 }
        END { exit !found }' /proc/locks
}

# remounted ro|rw UNIT: what the unit's processes may do to the data from now on; fails while a file is open for writing.
remounted() {
    pid=$(systemctl show -p MainPID --value "$2")
    [ "${pid:-0}" != 0 ] || return 0
    case $(awk -v data="$data" '$5 == data { found = $6 } END { print found }' "/proc/$pid/mountinfo"),$1 in
        ro,ro | ro,*,ro | rw,rw | rw,*,rw | ,*) return 0 ;;
    esac
    nsenter -t "$pid" -m -- mount -o "remount,bind,$1" "$data" 2>/dev/null
}

# A timer's job is not started anew: it ran at its time.
again() {
    if [ -e "/etc/systemd/system/${1%.service}.timer" ]; then
        systemctl stop "$1"
    else
        systemctl restart "$1"
    fi
}

units() {
    systemctl list-units --plain --no-legend --state=active,activating,reloading "$@" | awk '{ print $1 }'
}

if [ "$takes" -le "$most" ] && [ "$files" -le "$most_inodes" ]; then
    [ -e "$note" ] || exit 0
    rm -f "/run/systemd/system/$app@"*".service.d/$drop_in"
    rmdir --ignore-fail-on-non-empty "/run/systemd/system/$app@"*.service.d 2>/dev/null || true
    systemctl daemon-reload
    for unit in $(units "$app@*.service" "$app-release.service"); do
        remounted rw "$unit" || again "$unit"
    done
    rm -f "$note" "$waited"
    echo "the data of $app in $data is writable again"
    exit 0
fi

what="$((takes / 1024)) MB of $bound MB (data_megabytes)"
[ "$takes" -gt "$most" ] || what="$files of $((inodes / 2)) files"
if [ ! -e "$note" ]; then
    mkdir -p -m 0700 /run/ashore
    echo "the data of $app in $data takes $what: it is read-only for the app until there is less"
fi
echo "the data of $app in $data takes $what, and is read-only for the app until there is less" >"$note"

# A deploy goes first, for five minutes in all, unless the disk is nearly full.
if [ $((free * 10)) -gt "$disk" ] && at_work; then
    printf . >>"$waited"
    [ "$(stat -c %s "$waited")" -gt 15 ] || exit 0
fi
# What starts anew starts with this; what runs is remounted, and started anew where a file is open for writing.
for unit in $(units "$app@*.service"); do
    directory=/run/systemd/system/$unit.d
    if [ ! -e "$directory/$drop_in" ]; then
        mkdir -p "$directory"
        printf '# Written by Ashore: the data takes too much, see journalctl -u ashore-data-%s\n[Service]\nReadOnlyPaths=/var/lib/%%p\n' \
            "$app" >"$directory/$drop_in"
        systemctl daemon-reload
    fi
    remounted ro "$unit" || again "$unit"
done
for unit in $(units "$app-release.service"); do
    remounted ro "$unit" || systemctl stop "$unit"
done
