# install-program ID TOKEN NOTE DIRECTORY VERSION [FILE SIZE SHA256]...: the files come one after the other on stdin, and
# wait beside their place until the claim: nobody waits for a slow line, and what is cut is thrown away.

id=$1 token=$2 text=$3 directory=$root$4 version=$5
shift 5
programs=${directory%/*}
patience=1200
go_on

discard() {
    rm -rf "$new"
    refuse "$1"
}

needed=0 is=file
for word in "$@"; do
    case $is in
    file) is=size ;;
    size) is=sum needed=$((needed + word)) ;;
    *) is=file ;;
    esac
done

try directory "$programs"
# shellcheck disable=SC2046 # two numbers
free=$(printf '%s * %s' $(stat -f -c '%a %S' "$programs"))
free=$((${free:-0}))
if [ "$needed" -gt "$free" ]; then
    refuse "No space left on device: ${programs#"$root"} needs $needed bytes, $free are free"
fi
new=$(mktemp -d "$programs/.new.XXXXXXXX" 2>&1) || refuse "$new"

wrong=$(
    exec 2>&1
    chmod 755 "$new" && cd "$new" || exit
    while [ $# -gt 0 ]; do
        timeout "$patience" head -c "$2" >"$1" || exit
        found=$(digest "$1")
        if [ "$found" != "$3" ]; then
            echo "$1 came with another checksum, $found: the request was cut, or changed on its way"
            exit 1
        fi
        chmod 755 "$1" && printf '%s  %s\n' "$3" "$1" >>SHA256SUMS || exit
        shift 3
    done
    # Not as root: what an archive holds is known to be what was ordered, and no more.
    runs=$(timeout 20 setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs "$new/etcd" --version) || {
        echo "etcd from the archive cannot be executed there"
        exit 1
    }
    runs=${runs%%"
"*}
    if [ "$runs" != "etcd Version: $version" ]; then
        echo "the archive holds ${runs:-something else}, not etcd $version"
        exit 1
    fi
    chmod 644 SHA256SUMS && sync ./*
) || discard "${wrong:-the files cannot be written}"

claimed "$id" "$token" "$text"
# What a power cut left behind; nobody else may send here at this moment.
for old in "$programs"/.new.*; do
    if [ "$old" != "$new" ]; then
        rm -rf "$old"
    fi
done
# File by file, for something damaged may be there; the list comes last, and without it nothing counts as there.
install_files() {
    directory "$directory" && rm -f "$directory/SHA256SUMS" && sync "$directory" || return
    for file in "$new"/*; do
        case $file in */SHA256SUMS) ;; *) mv -fT "$file" "$directory/${file##*/}" || return ;; esac
    done
    sync "$directory" && mv -fT "$new/SHA256SUMS" "$directory/SHA256SUMS" && sync "$directory" "$programs"
}
wrong=$(install_files 2>&1) || discard "${wrong:-the files cannot be put in place}"
rm -rf "$new"
answer done
