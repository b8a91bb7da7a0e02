# Written by Ashore from templates/ssh/undo.sh.j2: edit that, not this. [seal c9c77e69dd77]
# Restores SSH access to this server as it was before a change that nobody proved. Run by ashore-undo.service.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd /var/lib/ashore/undo || exit 0

# A step of the change that is under way is waited for, as long as its agent lives: what it writes is undone, too.
lock=/run/ashore/shared-access.lock
[ ! -e $lock ] || { exec 9<$lock && flock -w 60 9; }

# Whoever renames this decides: `fab provision`, which has just proved a new login, or we.
if [ -e armed ] && ! mv armed undoing; then
    [ ! -e armed ]
    exit
fi
[ -e undoing ] || exit 0

# The backup stays until everything holds: `files` has what was there, `absent` names what was not. A path that is in
# neither was restored before.
restore() {
    if [ ! -e "files$1" ] && [ ! -L "files$1" ]; then
        if [ ! -e absent ] || grep -qxF "$1" absent; then rm -f "$1"; fi
        return
    fi
    if same "files$1" "$1"; then return; fi
    mkdir -p "${1%/*}" && rm -f "$1.before-undo" || return
    # A second name for the backup, renamed: that needs no room on a full disk. A copy only on another file system.
    ln -PT "files$1" "$1.before-undo" 2>/dev/null || copy "$1" || return
    mv -fT "$1.before-undo" "$1"
}

copy() {
    cp -a "files$1" "$1.before-undo" && sync && same "files$1" "$1.before-undo" && return
    rm -f "$1.before-undo"
    return 1
}

# The same kind, mode, owner and content.
same() {
    [ "$(stat -c '%f %u %g' "$1")" = "$(stat -c '%f %u %g' "$2" 2>/dev/null)" ] || return
    if [ -L "$1" ]; then [ "$(readlink "$1")" = "$(readlink "$2")" ]; else cmp -s "$1" "$2"; fi
}

failed=
while IFS= read -r path; do
    restore "$path" || { echo "not restored: $path"; failed=yes; }
done <paths

# Our table as it was; or as its file says; or none: an open firewall is better than a closed one.
if command -v nft >/dev/null; then
    nft -f table.nft || nft -f /etc/ashore/firewall.nft || nft 'table inet ashore; delete table inet ashore' || failed=yes
    [ ! -e /var/lib/ashore/operators.nft ] || nft -f /var/lib/ashore/operators.nft
fi

sync
[ "$failed" ] || rm -rf files # before sshd reads its files: this changes their times

# At boot, sshd is yet to be started, and finds it all as it was. Else it reads it anew; by a signal, since a job of
# systemd's would wait for the end of this one, which comes before ssh.service.
case $(systemctl is-system-running) in
initializing | starting) ;;
*)
    systemctl daemon-reload
    if systemctl --quiet is-active ssh.service; then
        mkdir -p /run/ashore && touch /run/ashore/sshd.reread
        { sshd -t && kill -HUP "$(systemctl show -p MainPID --value ssh.service)"; } || failed=yes
    elif ! systemctl --quiet is-active ssh.socket; then
        systemctl start --no-block ssh.service
    fi
    ;;
esac

# What could not be restored (a full disk) is tried again soon, by the next boot, and by the next `fab provision`.
if [ "$failed" ]; then
    systemd-run --quiet --collect --unit=ashore-undo-again --on-active=30 --timer-property=AccuracySec=1s \
        systemctl start --no-block ashore-undo.service
    exit 1
fi
rm -f undoing
rm -rf /var/lib/ashore/undo
