# inspect ETCD-UNIT DIRECTORY-OR-+FILE...: everything that is to be known of the host, at once; nothing is changed.
# Files are named as on the host. Of secrets nothing is printed: of a private key only its public half.

etcd_unit=$1
shift
directories= more=
pki=$root/etc/etcdplan/pki
newline='
'
for argument in "$@"; do
    case $argument in
    +*) more=$more$newline${argument#+} ;;
    *) directories=$directories$newline$argument ;;
    esac
done

# section KIND NAME COMMAND...: what the command prints.
section() {
    kind=$1 name=$2
    shift 2
    if out=$("$@" 2>/dev/null | base64 -w 0) && [ -n "$out" ]; then
        say "$kind $out $name"
    else
        say "$kind - $name"
    fi
}

# files FILE...: mode, owner, time of change and content of those that are there; what is large is not read.
files() {
    say "asked $(encoded "$(printf '%s\n' "$@")")"
    # shellcheck disable=SC2046 # one file a line
    listed=$(IFS=$newline && set -f && stat -L -c '%s %Y %a %u:%g %F:%n' -- $(printf "$root%s\n" "$@") 2>&1)
    while IFS= read -r line; do
        case $line in
        '' | *': No such file or directory' | *': Not a directory') continue ;;
        *' regular file:'* | *' regular empty file:'*) ;;
        *)
            say "trouble $(encoded "$line")"
            continue
            ;;
        esac
        name=${line#*:*:} size=${line%% *} about=${line#* }
        about=${about%% regular*}
        content=
        if [ "$size" -gt 262144 ]; then
            say "trouble $(encoded "${name#"$root"}: larger than 256 KiB")"
        elif content=$(base64 -w 0 "$name" 2>&1); then
            say "file ${content:--} $about ${name#"$root"}"
        else
            say "trouble $(encoded "$content")"
        fi
    done <<END
$listed
END
}

# existing GLOB-RESULT...: those that are there, without the root, one a line.
existing() {
    for found in "$@"; do
        if [ -e "$found" ]; then
            printf '%s\n' "${found#"$root"}"
        fi
    done
}

unit_files() {
    for place in etc run usr/local/lib usr/lib lib; do
        system=$root/$place/systemd/system
        # Where /lib is /usr/lib everything would be there twice.
        if [ "$place" = lib ] && [ -L "$root/lib" ]; then
            continue
        fi
        existing "$system/$etcd_unit" "$system/$etcd_unit.d"/*.conf "$system/${etcd_unit%-*.service}-.service.d"/*.conf \
            "$system/service.d"/*.conf "$system"/kube-apiserver*.service "$system"/kube-apiserver*.service.d/*.conf \
            "$system"/*.wants/kube-apiserver@?*.service
    done
}

# process UNIT PID
process() {
    if ! read -r stat 2>/dev/null <"$root/proc/$2/stat"; then
        say "gone $1"
        return
    fi
    set -f
    # shellcheck disable=SC2086 # fields
    set -- "$1" "$2" ${stat##*")"}
    set +f
    say "process $2 $3 ${22} $(encoded "$(readlink "$root/proc/$2/exe")") $1"
    section cmdline "$1" cat "$root/proc/$2/cmdline"
    section environ "$1" grep -az '^ETCD_' "$root/proc/$2/environ"
    case $1 in kube-apiserver*) ready "$1" "$2" ;; esac
}

# ready UNIT PID: ask an API server with the certificate that it shows to kubelets, which stays on this host. It is
# asked here, as curl is not everywhere, and a forwarded port would ask without a certificate (401 where it is hardened).
ready() {
    port=6443 address=127.0.0.1 certificate= key=
    arguments=$(tr '\0' '\n' <"$root/proc/$2/cmdline")
    while IFS= read -r argument; do
        case $argument in
        --secure-port=*) port=${argument#*=} ;;
        --bind-address=*) address=${argument#*=} ;;
        --kubelet-client-certificate=*) certificate=$root${argument#*=} ;;
        --kubelet-client-key=*) key=$root${argument#*=} ;;
        esac
    done <<END
$arguments
END
    case $address in
    0.0.0.0) address=127.0.0.1 ;;
    ::) address=[::1] ;;
    *:*) address=[$address] ;;
    esac
    set --  "$1"
    if [ -r "$certificate" ] && [ -r "$key" ]; then
        set -- "$1" -cert "$certificate" -key "$key"
    fi
    unit=$1
    shift
    status=$(printf 'GET /readyz HTTP/1.0\r\n\r\n' |
        timeout 2 openssl s_client -quiet -connect "$address:$port" "$@" 2>/dev/null | head -n 1)
    say "ready $(encoded "$status") $unit"
}

# data DIRECTORY: what etcd would find there.
data() {
    place=$root$1
    if ! [ -e "$place" ] && ! [ -L "$place" ]; then
        say "nothing $1"
    elif ! [ -d "$place" ]; then
        say "trouble $(encoded "$1: not a directory")"
    elif list=$(ls -A "$place" 2>&1); then
        say "names $(printf '%s' "$list" | head -c 16384 | base64 -w 0) $1"
    else
        say "trouble $(encoded "$1: $list")"
    fi
    for segment in $(cd "$place" 2>/dev/null && ls -r | grep '\.wal$' | head -n 4); do
        section head "$1/$segment" head -c 4096 "$place/$segment"
    done
}

free() {
    place=$root$1
    until [ -e "$place" ] || [ "$place" = "$root" ] || [ -z "$place" ]; do
        place=${place%/*}
    done
    say "free $(stat -f -c '%a %S' "${place:-/}" 2>/dev/null) $1"
}

# words PATTERN...: the paths in the units and environment files that follow it; more than are needed do no harm.
paths_after() {
    printf '%s\n' "$texts" | sed -n "s/.*\($1\)[=: ][\"' ]*-\{0,1\}\(\/[^\"' \\\\]*\).*/\2/p"
}

say "now $(date +%s.%N)"
read -r boot </proc/sys/kernel/random/boot_id
read -r up_time rest </proc/uptime
read -r hostname </proc/sys/kernel/hostname
machine=
if [ -r "$root/etc/machine-id" ]; then
    read -r machine <"$root/etc/machine-id" || :
fi
say "system $boot $up_time $hostname ${machine:--}"

IFS=$newline
units=$(unit_files)
services=$etcd_unit
for unit in $units; do
    case ${unit##*/} in
    *@.service | *.conf) ;;
    *.service)
        case $newline$services$newline in *"$newline${unit##*/}$newline"*) ;; *) services=$services$newline${unit##*/} ;; esac
        ;;
    esac
done

# shellcheck disable=SC2086 # one a line
if shown=$(timeout 5 systemctl show -p Id,LoadState,ActiveState,MainPID,Result,User $services 2>&1); then
    say "show $(encoded "$shown")"
else
    say "trouble $(encoded "systemctl: ${shown:-no answer}")"
    shown=
fi

# What the units name: environment files, then configuration files, then directories.
texts=
if [ -n "$units" ]; then
    # shellcheck disable=SC2046 # one file a line
    texts=$(cat -- $(printf "$root%s\n" $units) 2>/dev/null)
fi
environments=
for path in $(paths_after EnvironmentFile); do
    for unit in $services; do
        full=${unit%.service} name=$path
        case $path in *%[pN]*) name=${path%%\%[pN]*}$full${path#*\%[pN]} ;; esac
        environments=$environments$newline$name
    done
done
environments=$(printf '%s\n' "$environments" | sort -u)
if [ -n "$environments" ]; then
    # shellcheck disable=SC2046 # one file a line
    texts=$texts$newline$(cat -- $(printf "$root%s\n" $environments) 2>/dev/null)
fi
configs=$(paths_after 'config-file\|ETCD_CONFIG_FILE')
if [ -n "$configs" ]; then
    # shellcheck disable=SC2046 # one file a line
    texts=$texts$newline$(cat -- $(printf "$root%s\n" $configs) 2>/dev/null)
fi
# shellcheck disable=SC2086 # one file a line
files $units $environments $configs $more "/etc/systemd/system/$etcd_unit" /etc/etcdplan/pki/ca.crt /var/lib/etcdplan/record.json

unit= pid=0
while IFS= read -r line; do
    case $line in
    Id=*) unit=${line#*=} ;;
    MainPID=*) pid=${line#*=} ;;
    '')
        if [ "$pid" != 0 ]; then
            (unset IFS && process "$unit" "$pid")
        fi
        unit= pid=0
        ;;
    esac
done <<END
$shown

END

for mark in "$state/held"/*; do
    if [ -e "$mark" ]; then
        say "held ${mark##*/}"
    fi
done

for leaf in "$pki"/*/; do
    leaf=${leaf%/} && name=${leaf##*/}
    # Entered once, so that both files are of one pair though another one is swapped in just now.
    if cd -P "$leaf" 2>/dev/null; then
        if [ -e tls.crt ]; then
            section certificate "$name" head -c 65536 tls.crt
        else
            say "certificate absent $name"
        fi
        section public-key "$name" openssl pkey -in tls.key -passin pass: -pubout
    fi
done
cd /

IFS=$newline
for directory in $(printf '%s\n' $directories $(paths_after 'data-dir\|ETCD_DATA_DIR') | sort -u); do
    data "$directory"
    data "$directory/member/wal"
    free "$directory"
done
for directory in $(paths_after 'wal-dir\|ETCD_WAL_DIR' | sort -u); do
    data "$directory"
done

# Programs that no unit has started.
for stat in "$root"/proc/[0-9]*/stat; do
    read -r line 2>/dev/null <"$stat" || continue
    case $line in *' (etcd) '* | *' (kube-apiserver) '*)
        name=${line#*(} pid=${line%% *}
        say "program $pid ${name%%)*}"
        section cmdline "$pid" cat "$root/proc/$pid/cmdline"
        section environ "$pid" grep -az '^ETCD_' "$root/proc/$pid/environ"
        ;;
    esac
done
answer looked
