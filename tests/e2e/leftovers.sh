# Prints a line for everything that stands about. Two runs of it see the same: it changes nothing.
set +e
cd /srv/visitors; current=$(basename "$(readlink current)")
systemctl list-units --all --plain --no-legend 'visitors*' | awk '{print "unit", $1, $3}' \
  | grep -vE "^unit visitors@($current.service active|.* inactive)$"
ls /run/visitors | grep -v "^$current$" | sed 's/^/socket /'
ls /etc/systemd/system/multi-user.target.wants | grep visitors@ \
  | grep -v "^visitors@$current.service$" | sed 's/^/at boot /'
ls -A . | grep -vxE 'current|previous|provisioned|releases|secrets.env|tls|venvs' | sed 's/^/file /'
for release in $(ls releases); do
  grep -qsxE 'good|rolled back' releases/$release/state || echo half release $release
  test -f /etc/systemd/system/visitors@$release.service || echo release without unit $release
  ls -A releases/$release | grep -vxE 'ashore_served.py|built|source|env|env.json|gunicorn.conf.py|http.sock|manifest.json|packed|places.json|release.json|state|static|static.br|unit|uploaded|venv' \
    | sed "s/^/in release /"
done
for unit in $(ls /etc/systemd/system | grep '^visitors@.*service$'); do
  release=${unit#visitors@}; test -d releases/${release%.service} || echo unit without release $unit
done
for list in $(ls venvs | grep '\.txt$'); do test -d venvs/${list%.txt} || echo list without virtualenv $list; done
ls /run/ashore | grep '\.env$' | sed 's/^/variables of a build /'
for venv in $(ls venvs | grep -v '\.txt$'); do
  readlink releases/*/venv | grep -q "/$venv$" || echo unused virtualenv $venv
  test -f venvs/$venv/.complete || echo half virtualenv $venv
done
find /srv/visitors /etc /usr/local /var/lib/ashore /run/ashore -xdev \( -name '.*.ashore*' -o -name '.*.before' \) | sed 's/^/temporary /'
ls /usr/local/lib/ashore | grep building | sed 's/^/half uv /'
ls -d /var/lib/ashore/undo 2>/dev/null | sed 's/^/a change that was not proved /'
systemctl list-units --all --plain --no-legend 'ashore-undo*' | grep -v 'inactive' | sed 's/^/dead-man /'
test ! -e /var/lib/ashore/visitors/last-run.json || echo a run that nobody has heard of
flock -n /run/ashore/app-visitors.lock true || echo locked
pgrep -fx 'python3 -ISc .*' | sed 's/^/agent /'
ls -A tls 2>/dev/null | grep -E '^\.(fresh|brought|live)' | sed 's/^/half a certificate /'
test "$(ls tls 2>/dev/null | wc -l)" -le 3 || echo old certificates
if command -v nginx >/dev/null; then nginx -t -q 2>&1 | sed 's/^/nginx: /'; fi
if command -v caddy >/dev/null; then sh /usr/local/lib/ashore/caddy.sh test 2>&1 | grep '^Error' | sed 's/^/caddy: /'; fi
echo looked
