# Written by Ashore from templates/nginx/drain.sh.j2: edit that, not this. [seal 06af9cf633f3]
# Run by nginx.service before each reload, whoever asks for it: kept connections of visitors are closed, each by an answer
# that says so. See drain.conf. An old worker of Nginx may answer for some seconds after the reload.
set -eu
umask 022
directory=/run/ashore-drain
mkdir -p "$directory"
now=$(date +%s)
# From just before, by which a busy worker's clock may lag behind. What an earlier reload left is removed only afterwards:
# its old workers may still take requests.
for second in -2 -1 0 1 2 3 4 5 6 7 8 9; do
    : >"$directory/$((now + second))"
done
for old in "$directory"/*; do
    [ "${old##*/}" -ge $((now - 2)) ] || rm -f "$old"
done
# Whoever comes from here on is told by the first answer. Those who are there already have two seconds to hear of it.
if cat /proc/self/net/tcp /proc/self/net/tcp6 2>/dev/null | grep -Eq '^ *[0-9]+: [0-9A-F]+:(0050|01BB) [0-9A-F]+:[0-9A-F]{4} 01 '; then
    sleep 2
fi
