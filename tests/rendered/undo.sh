# Written by Ashore from templates/ssh/undo.sh.j2: edit that, not this. [seal abf5ac4345d0]
# Puts the way into this server back as it was before a change of it that nobody proved. Run by ashore-undo.service.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd /var/lib/ashore/undo || exit 0

# Whoever renames this decides: `fab provision`, which has just proved a new login, or we.
if [ -e armed ]; then mv armed undoing || exit 0; fi
[ -e undoing ] || exit 0

while IFS= read -r path; do
    if [ -e "files$path" ] || [ -L "files$path" ]; then
        mkdir -p "${path%/*}"
        rm -f "$path.before-undo"
        cp -a "files$path" "$path.before-undo" && mv -fT "$path.before-undo" "$path"
    else
        rm -f "$path"
    fi
done <paths

# Our table as it was; or as its file says; or none: an open firewall is better than a closed door.
nft -f table.nft || nft -f /etc/ashore/firewall.nft || nft 'table inet ashore; delete table inet ashore'
[ ! -e /var/lib/ashore/operators.nft ] || nft -f /var/lib/ashore/operators.nft

# At boot, sshd is yet to be started, and finds it all as it was. Else it reads it anew; by a signal, since a job of
# systemd's would wait for the end of this one, which comes before ssh.service.
case $(systemctl is-system-running) in
initializing | starting) ;;
*)
    systemctl daemon-reload
    if systemctl --quiet is-active ssh.service; then
        mkdir -p /run/ashore && touch /run/ashore/sshd.reread
        sshd -t && kill -HUP "$(systemctl show -p MainPID --value ssh.service)"
    elif ! systemctl --quiet is-active ssh.socket; then
        systemctl start --no-block ssh.service
    fi
    ;;
esac

sync
rm -f undoing
rm -rf /var/lib/ashore/undo
