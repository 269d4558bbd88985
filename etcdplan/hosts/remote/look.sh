# inspect ETCD-UNIT SECONDS DIRECTORY-OR-+FILE-OR-=UNIT-OR-@PROGRAM-OR-DOT...: everything that is to be known of the host, at
# once; nothing is changed. An API server may take so many seconds to say whether it is ready. Files are named as on the
# host. Of secrets nothing is printed: of a private key only its public half.

etcd_unit=$1 patience=$2
shift 2
directories= more= servers= program= kept=
pki=$root/etc/etcdplan/pki
newline='
'
for argument in "$@"; do
    case $argument in
    +*) more=$more$newline${argument#+} ;;
    =*) servers=$servers$newline${argument#=} ;;
    @*) program=$root${argument#@} ;;
    .) kept=y ;;
    *) directories=$directories$newline$argument ;;
    esac
done

trouble() {
    say trouble
    printf '%s' "$1"
}

# rooted FILE...: as $rooted, one a line, where they are. Here and below a variable and not an output, where it can be: each
# process that a look begins costs the host more than what it does.
rooted() {
    rooted=
    for file in "$@"; do
        rooted=$rooted$newline$root$file
    done
}

# files FILE...: size, time of change, mode, owner and content of those that are there; what is large is not read.
files() {
    say asked
    printf '%s\n' "$@"
    rooted "$@"
    # shellcheck disable=SC2086 # one file a line
    listed=$(IFS=$newline && set -f && exec stat -L -c '%s %Y %a %u:%g %F:%n' -- $rooted 2>&1)
    while IFS= read -r line; do
        name=${line#*:*:}
        case $line in
        '' | *': No such file or directory' | *': Not a directory') ;;
        *' regular file:'* | *' regular empty file:'*)
            if [ "${line%% *}" -gt 262144 ]; then
                trouble "${name#"$root"}: larger than 256 KiB"
            else
                say "file ${line%% regular*} ${name#"$root"}"
                cat "$name"
            fi
            ;;
        *) trouble "$line" ;;
        esac
    done <<END
$listed
END
}

# existing GLOB-RESULT...: add those that are there to $units, without the root and each once, one a line.
existing() {
    for found in "$@"; do
        if [ -e "$found" ]; then
            found=${found#"$root"}
            case $newline$units$newline in *"$newline$found$newline"*) ;; *) units=$units$newline$found ;; esac
        fi
    done
}

unit_files() {
    units=
    for place in etc run usr/local/lib usr/lib lib; do
        system=$root/$place/systemd/system
        # Where /lib is /usr/lib everything would be there twice.
        if [ "$place" = lib ] && [ -L "$root/lib" ]; then
            continue
        fi
        existing "$system/$etcd_unit" "$system/$etcd_unit.d"/*.conf "$system/${etcd_unit%-*.service}-.service.d"/*.conf \
            "$system/service.d"/*.conf "$system"/kube-apiserver*.service "$system"/kube-apiserver*.service.d/*.conf \
            "$system"/*.wants/kube-apiserver@?*.service
        for server in $servers; do
            template=$server
            case $server in *@*) template=${server%%@*}@.service ;; esac
            existing "$system/$server" "$system/$server.d"/*.conf "$system/$template" "$system/$template.d"/*.conf
        done
    done
}

# process UNIT PID, with spaces between fields.
process() {
    if ! read -r stat 2>/dev/null <"$root/proc/$2/stat"; then
        say "gone $1"
        return
    fi
    set -f
    # shellcheck disable=SC2086 # fields
    set -- "$1" "$2" ${stat##*")"}
    set +f
    say "process $2 $3 ${22} $1 $(readlink "$root/proc/$2/exe")"
    say "cmdline $1"
    cat "$root/proc/$2/cmdline"
    say "environ $1"
    grep -az '^ETCD_' "$root/proc/$2/environ"
    if [ "$1" != "$etcd_unit" ]; then
        ready "$1" "$2"
    fi
}

# ready UNIT PID: ask an API server with a certificate of this host, whose key stays here: the one that it shows to
# kubelets, else kubeadm's for that, else the kubelet's own. A forwarded port would ask without one (401 where it is
# hardened), and curl is not everywhere.
ready() {
    port=6443 address=127.0.0.1 certificate= key=
    arguments=$(tr '\0' '\n' <"$root/proc/$2/cmdline")
    flag=
    while IFS= read -r argument; do
        # A flag may have its value in the next argument.
        case $flag$argument in --*=*) argument=$flag$argument ;; esac
        flag=
        case $argument in
        --secure-port | --bind-address | --kubelet-client-certificate | --kubelet-client-key) flag=$argument= ;;
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
    unit=$1
    set --
    for pair in "$certificate:$key" \
        "$root/etc/kubernetes/pki/apiserver-kubelet-client.crt:$root/etc/kubernetes/pki/apiserver-kubelet-client.key" \
        "$root/var/lib/kubelet/pki/kubelet-client-current.pem:$root/var/lib/kubelet/pki/kubelet-client-current.pem"; do
        if [ $# = 0 ] && [ -r "${pair%%:*}" ] && [ -r "${pair#*:}" ]; then
            set -- -cert "${pair%%:*}" -key "${pair#*:}"
        fi
    done
    say "ready $unit"
    printf 'GET /readyz HTTP/1.0\r\n\r\n' |
        timeout "$patience" openssl s_client -quiet -connect "$address:$port" "$@" 2>/dev/null | head -n 1
}

# data DIRECTORY: what is in it, and the heads of the newest segments of a log there.
data() {
    place=$root$1
    if ! [ -e "$place" ] && ! [ -L "$place" ]; then
        say "nothing $1"
        return
    fi
    if ! [ -d "$place" ]; then
        trouble "$1: not a directory"
        return
    fi
    if ! list=$(ls -A "$place" 2>&1); then
        trouble "$1: $list"
        return
    fi
    say "names $1"
    printf '%.16384s' "$list"
    about=$1
    set -- "$place"/*.wal
    while [ $# -gt 4 ]; do
        shift
    done
    for segment in "$@"; do
        if [ -e "$segment" ]; then
            say "head $about/${segment##*/}"
            head -c 4096 "$segment"
        fi
    done
}

# volume DIRECTORY: of the file system that it is on, or will be: free and all blocks, their size, whether its disk
# spins (1 or 0, - where the kernel does not tell), its kind.
volume() {
    place=$root$1
    until [ -e "$place" ] || [ "$place" = "$root" ] || [ -z "$place" ]; do
        place=${place%/*}
    done
    say "volume $1"
    stat -f -c '%a %b %S %T' "${place:-/}" 2>/dev/null
    spins=-
    if device=$(stat -c %d "${place:-/}" 2>/dev/null); then
        # The numbers of a device as Linux packs them; of a partition its disk knows.
        block=/sys/dev/block/$((device >> 8 & 4095)):$((device & 255 | device >> 12 & 1048320))
        for queue in "$block/queue" "$block/../queue"; do
            if read -r spins 2>/dev/null <"$queue/rotational"; then
                break
            fi
            spins=-
        done
    fi
    printf '%s' "$spins"
}

# named FILE..., in a process of its own: the paths that units, environment files and etcd's configuration name, each behind a letter for what
# it is; more than are needed do no harm.
named() {
    value="[=: ][\"' ]*-\{0,1\}\(/[^\"' \\\\]*\).*"
    rooted "$@"
    IFS=$newline
    set -f
    # shellcheck disable=SC2086 # one file a line
    exec sed -n -e "h; s:.*EnvironmentFile$value:E \1:p" \
        -e "g; s:.*\(config-file\|ETCD_CONFIG_FILE\)$value:C \2:p" \
        -e "g; s:.*\(data-dir\|ETCD_DATA_DIR\)$value:D \2:p" \
        -e "g; s:.*\(wal-dir\|ETCD_WAL_DIR\)$value:W \2:p" -- $rooted 2>/dev/null
}

# only LETTER: as $chosen, of what is named.
only() {
    chosen=
    for entry in $paths; do
        case $entry in "$1 "*) chosen=$chosen$newline${entry#??} ;; esac
    done
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
memory=
read -r rest memory rest </proc/meminfo
say "machine ${memory:-0} $(nproc 2>/dev/null)"
say listening
grep -h -m 1000 ':0000 0A ' "$root/proc/net/tcp" "$root/proc/net/tcp6" 2>/dev/null

IFS=$newline
unit_files
services=$etcd_unit$servers
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
    say show
    printf '%s' "$shown"
else
    trouble "systemctl: ${shown:-no answer}"
    shown=
fi

# What the units name: environment files, then configuration files, then directories.
paths= environments= configs=
if [ -n "$units" ]; then
    paths=$(named $units)
fi
only E
for path in $chosen; do
    for unit in $services; do
        full=${unit%.service} name=$path
        case $path in *%[pN]*) name=${path%%\%[pN]*}$full${path#*\%[pN]} ;; esac
        case $newline$environments$newline in
        *"$newline$name$newline"*) ;;
        *) environments=$environments$newline$name ;;
        esac
    done
done
if [ -n "$environments" ]; then
    paths=$paths$newline$(named $environments)
fi
only C
configs=$chosen
if [ -n "$configs" ]; then
    paths=$paths$newline$(named $configs)
fi
# Not twice.
own=/etc/systemd/system/$etcd_unit
case $newline$units$newline in *"$newline$own$newline"*) own= ;; esac
# shellcheck disable=SC2086 # one file a line
files $units $environments $configs $more $own /etc/etcdplan/pki/ca.crt /var/lib/etcdplan/record.json

unit= pid=0 told=
while IFS= read -r line; do
    case $line in
    Id=*) unit=${line#*=} ;;
    MainPID=*) pid=${line#*=} ;;
    '')
        if [ "$pid" != 0 ]; then
            told=$told$newline$pid
            IFS=' '
            process "$unit" "$pid"
            IFS=$newline
        fi
        unit= pid=0
        ;;
    esac
done <<END
$shown

END

# The program as it is, and then what it and those beside it were when they came. By openssl: that is 20 ms, not 100.
if [ -n "$program" ] && [ -x "$program" ] && [ -e "${program%/*}/SHA256SUMS" ]; then
    say installed
    openssl dgst -sha256 -r <"$program" && cat "${program%/*}/SHA256SUMS"
fi

# What takes backups here: programs and files by checksum, how timer and last run are, and the public halves of its keys.
backup=$root/etc/etcdplan/backup
set -- "$root/opt/etcdplan"/etcdplan-*
if [ -d "$backup" ] || [ -e "$1" ] || [ -e "$root/etc/systemd/system/etcdplan-backup.timer" ]; then
    say "job programs"
    for file in "$@"; do
        if [ -x "$file/etcdplan" ]; then
            printf '%s\n' "${file#"$root"}"
        fi
    done
    say "job files"
    for file in "$backup/spec.yaml" "$backup/trusted"/*.pub "$root/etc/systemd/system/etcdplan-backup".*; do
        if [ -f "$file" ]; then
            printf '%s %s\n' "$(digest "$file")" "${file#"$root"}"
        fi
    done
    say "job timer"
    timeout 5 systemctl show -p ActiveState,UnitFileState etcdplan-backup.timer
    say "job service"
    timeout 5 systemctl show -p Result etcdplan-backup.service
    say "job signer"
    head -c 4096 "$backup/keys/signing.key.pub" 2>/dev/null
    say "job recipient"
    sed -n 's/^# public key: //p' "$backup/keys/identity" 2>/dev/null
fi

for mark in "$state/held"/* "$state/drained"/* "$state/dead-man/armed"/* "$state/dead-man/fired"/*; do
    if [ -e "$mark" ]; then
        kind=${mark%/*}
        say "${kind##*/} ${mark##*/}"
        case $kind in */fired) head -c 1024 "$mark" ;; esac
    fi
done

for leaf in "$pki"/*/; do
    leaf=${leaf%/} && name=${leaf##*/}
    # Entered once, so that both files are of one pair though another one is swapped in just now.
    if cd -P "$leaf" 2>/dev/null; then
        if [ -e tls.crt ]; then
            say "certificate $name"
            head -c 65536 tls.crt
        else
            say "no-certificate $name"
        fi
        say "public-key $name"
        openssl pkey -in tls.key -passin pass: -pubout 2>/dev/null
    fi
done
cd /

only W
logs=$chosen seen=
only D
for directory in $directories $chosen $logs; do
    case $newline$seen$newline in *"$newline$directory$newline"*) continue ;; esac
    seen=$seen$newline$directory
    data "$directory"
    volume "$directory"
    case $newline$logs$newline in *"$newline$directory$newline"*) continue ;; esac
    data "$directory/member/wal"
    data "$directory/staged-by-etcdplan/member/wal"
done
for log in $logs; do
    data "$log.staged-by-etcdplan"
done

# Programs that no unit has started, as far as systemd has said; what has ended and waits to be reaped is none.
strays=$(exec grep -hs '^[0-9]* (\(etcd\|kube-apiserver\)) [^XZ]' "$root"/proc/[0-9]*/stat)
for line in $strays; do
    pid=${line%% *}
    case $newline$told$newline in *"$newline$pid$newline"*) continue ;; esac
    IFS=' '
    # shellcheck disable=SC2086 # fields
    set -- ${line##*")"}
    IFS=$newline
    name=${line#*"("}
    say "program $pid ${20-0} ${name%%")"*}"
    say "cmdline $pid"
    cat "$root/proc/$pid/cmdline"
    say "cgroup $pid"
    cat "$root/proc/$pid/cgroup" 2>/dev/null
done
# kept FILE...: of etcdplan's own directory; one byte more than is taken shows that there is more.
kept() {
    for name in "$@"; do
        if [ -e "$state/$name" ] || [ -L "$state/$name" ]; then
            say "kept $name"
            head -c 1048577 "$state/$name" 2>/dev/null || say "kept-in-part $name"
        else
            say "kept-nothing $name"
        fi
    done
}

# Who holds the lock, which runs there were, and the newest one: what a plan tells of applies.
if [ -n "$kept" ]; then
    kept lock.json
    if list=$(ls "$state/journal/" 2>/dev/null); then
        say "kept-names journal"
        printf %s "$list"
        if [ -n "$list" ]; then
            kept "journal/${list##*"$newline"}"
        fi
    elif ! [ -e "$state/journal" ] && ! [ -L "$state/journal" ]; then
        say 'kept-nothing journal'
    fi
fi
answer looked
