# What keeps the read-only role to reading what a plan needs: whoever may run this chooses the arguments.
newline='
'
if [ $# -lt 1 ]; then
    refuse 'this needs arguments'
fi
for word in "$@"; do
    case "/$word/" in */../* | *"$newline"*) refuse 'no path leads upwards, or over several lines' ;; esac
done

# alone DIRECTORY: whether only root can put something else in the place of what is in it.
alone() {
    set -f
    # shellcheck disable=SC2046 # two words
    set -- "$1" $(stat -c '%u %a' -- "$1")
    set +f
    case $2:$3 in 0:*[2367] | 0:*[2367]?) return 1 ;; 0:*) ;; *) return 1 ;; esac
    [ "$1" = / ] || alone "$(dirname -- "$1")"
}

# theirs PATH: whether it leads where others than root and etcd may have laid a link.
theirs() {
    place=$(realpath -m -- "$1")
    above=$(dirname -- "$place")
    until [ -d "$above" ]; do
        above=$(dirname -- "$above")
    done
    if ! alone "$above"; then
        return 0
    fi
    case $(stat -c '%u:%a' -- "$place" 2>/dev/null) in "${SUDO_UID:-none}":* | *[2367]) return 0 ;; esac
    return 1
}

no_reading() {
    say asked
    printf '%s\n' "$1"
    say trouble
    printf '%s: %s' "$1" 'the read-only role does not read this'
}

a_unit() {
    case $1 in '' | *[!A-Za-z0-9_.@:-]* | [-.]*) refuse "$1 is not the name of a unit" ;; esac
}

# part_of UNIT: whether files make something of it or of its template, as a whole or in part.
part_of() {
    for place in etc run usr/local/lib usr/lib lib; do
        for name in "$1" "$1.d" "${1%%@*}@.service" "${1%%@*}@.service.d"; do
            file=$root/$place/systemd/system/$name
            if [ -e "$file" ] || [ -L "$file" ]; then
                return 0
            fi
        done
    done
    return 1
}

# serves UNIT: whether kube-apiserver is all that it runs, or there is no such unit.
serves() {
    shown=$(timeout 5 systemctl show -p LoadState,ExecStart "$1") || return 1
    program=${shown#*'ExecStart={ path='}
    case $shown/${program%% ; *} in
    *ExecStart=*ExecStart=*) return 1 ;;
    *'ExecStart={ path='*/kube-apiserver) return 0 ;;
    *LoadState=not-found*) ! part_of "$1" ;;
    *) return 1 ;;
    esac
}

# an_api_server UNIT: whether it is one's. What an instance runs its name may say, which is the caller's: so any other
# instance must be one, too.
an_api_server() {
    a_unit "$1"
    case $1 in
    kube-apiserver*.service) return 0 ;;
    *@*.service) serves "$1" && serves "${1%%@*}@x.service" ;;
    *.service) serves "$1" ;;
    *) return 1 ;;
    esac
}

case $verb in
read | names) ;;
inspect)
    if [ "$1" != etcd.service ]; then
        refuse "$1 is not etcd's unit"
    fi
    case $2 in '' | *[!0-9.]*) refuse "$2 is not a number of seconds" ;; esac
    # Every argument goes to the end, unless it is not to be read.
    left=$(($# - 2)) unit=$1 seconds=$2
    shift 2
    set -- "$@" "$unit" "$seconds"
    while [ "$left" -gt 0 ]; do
        word=$1 path=${1#[+@]} left=$((left - 1))
        shift
        case $word in
        .)
            set -- "$@" "$word"
            continue
            ;;
        =*)
            if ! an_api_server "${word#=}"; then
                refuse "${word#=} does not run kube-apiserver, and the read-only role reads no other unit"
            fi
            set -- "$@" "$word"
            continue
            ;;
        [+@]/* | /*) ;;
        *) refuse "$word is not an absolute path" ;;
        esac
        if theirs "$path"; then
            no_reading "$path"
            continue
        fi
        case $word in
        +*)
            # A file that no unit names only when everybody may read it.
            if [ -e "$path" ] && ! setpriv --reuid 65534 --regid 65534 --clear-groups test -r "$path"; then
                no_reading "$path"
                continue
            fi
            ;;
        esac
        set -- "$@" "$word"
    done
    ;;
*) refuse 'this role only reads' ;;
esac
