# gather BYTES-A-FILE BYTES-IN-ALL UNIT...: the files without which a control plane does not come back, whatever is in
# etcd: authorities and the keys of service accounts, encryption providers, units and manifests. Only files of root's
# that lie where something names them, and never what a link leads to.

most=$1 budget=$2
shift 2
newline='
'
pki=/etc/kubernetes/pki
flags='client-ca-file requestheader-client-ca-file service-account-key-file service-account-signing-key-file'
flags="$flags encryption-provider-config authentication-config authentication-token-webhook-config-file"
flags="$flags authorization-config authorization-webhook-config-file admission-control-config-file audit-policy-file"
flags="$flags audit-webhook-config-file egress-selector-config-file token-auth-file root-ca-file"
flags="$flags cluster-signing-cert-file cluster-signing-key-file service-account-private-key-file"
flags=$(printf %s "$flags" | sed 's/ /\\|/g')

existing() {
    for found in "$@"; do
        if [ -e "$found" ] || [ -L "$found" ]; then
            printf '%s\n' "${found#"$root"}"
        fi
    done
}

definitions() {
    for place in etc usr/local/lib usr/lib lib; do
        # Where /lib is /usr/lib everything would be there twice.
        if [ "$place" = lib ] && [ -L "$root/lib" ]; then
            continue
        fi
        system=$root/$place/systemd/system
        for unit in "$@"; do
            template=$unit
            case $unit in *@*) template=${unit%%@*}@.service ;; esac
            existing "$system/$unit" "$system/$unit.d"/*.conf "$system/$template" "$system/$template.d"/*.conf
        done
        for kind in kube-apiserver kube-controller-manager kube-scheduler; do
            existing "$system/$kind"*.service "$system/$kind"*.service.d/*.conf
        done
    done
    existing "$root/etc/kubernetes/manifests"/*.yaml "$root/etc/etcdplan"/apiserver-*.base
}

# texts FILE...: of those that are regular, one a line.
texts() {
    for text in "$@"; do
        if [ -f "$root$text" ] && ! [ -L "$root$text" ]; then
            head -c "$most" "$root$text"
            echo
        fi
    done
}

# running UNIT...: the arguments of what systemd runs as these, and as Kubernetes' own. By its name alone no process is
# theirs: anybody can call one so, and have it name any file. What runs in static pods is in their manifests.
running() {
    shown=$(timeout 5 systemctl show -p MainPID "$@" 'kube-apiserver*.service' 'kube-controller-manager*.service' 2>/dev/null)
    for pid in $(printf '%s\n' "$shown" | sed -n 's/^MainPID=\([1-9][0-9]*\)$/\1/p'); do
        cat "$root/proc/$pid/cmdline" 2>/dev/null
        echo
    done
}

left() {
    say "left $1"
    printf %s "$2"
}

defined=$(definitions "$@" | sort -u)
IFS=$newline
set -f
# shellcheck disable=SC2086 # one a line
environments=$(texts $defined | sed -n 's/^EnvironmentFile=-\{0,1\}\(\/[^%]*\)$/\1/p')
# A word of a command, or of a variable that it is made of.
# shellcheck disable=SC2086
words=$({
    texts $defined $environments
    running "$@"
} | tr '\0 \t"\\'\' '\n\n\n\n\n\n' | sed -e '/^$/d' -e 's/^[A-Za-z_][A-Za-z0-9_]*=--/--/')
named=$(printf '%s\n' "$words" | sed -n -e "/^--\($flags\)\$/{n;p;}" -e "s/^--\($flags\)=//p" | grep '^/')
beside=$(printf '%s\n' "$named" | sed -n -e 's/\.crt$/.key/p' -e 's/\.pem$/-key.pem/p')
usual=
for name in ca.crt ca.key front-proxy-ca.crt front-proxy-ca.key sa.pub sa.key etcd/ca.crt etcd/ca.key; do
    usual=$usual$newline$pki/$name
done

listed=$(printf '%s\n' "$defined" "$environments" "$named" "$beside" "$usual" | sed 's://*:/:g' | sort -u)
for path in $listed; do
    case "$path/" in */../* | /*/./*) continue ;; esac
    file=$root$path
    if [ -L "$file" ]; then
        left "$path" 'it is a link'
        continue
    fi
    if ! [ -e "$file" ]; then
        case $newline$named$newline in *"$newline$path$newline"*) left "$path" 'a flag names it, and it is not there' ;; esac
        continue
    fi
    # Names may have blanks and more where a directory service gives them; then the numbers have to do.
    case $(stat -c %U:%G -- "$file" 2>&1) in *[!A-Za-z0-9_.:-]*) owner=%u:%g ;; *) owner=%U:%G ;; esac
    if ! [ -f "$file" ] || ! about=$(stat -c "%s %a $owner" -- "$file" 2>&1); then
        left "$path" 'it is no file that can be read'
        continue
    fi
    size=${about%% *}
    if [ "$size" -gt "$most" ] || [ "$size" -gt "$budget" ]; then
        left "$path" "it is too large ($size bytes)"
        continue
    fi
    if ! [ -r "$file" ]; then
        left "$path" 'it may not be read'
        continue
    fi
    budget=$((budget - size))
    say "file $about $path"
    head -c "$size" "$file"
done
answer looked
