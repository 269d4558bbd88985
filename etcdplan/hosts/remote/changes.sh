# The verbs that change a host: the effect's ID, the token and the note come first.

id=$1 token=$2 text=$3
shift 3
pki=$root/etc/etcdplan/pki

# write UNIT SIZE USER: the content is lines of file, mode, owner, digest of what was there, new content.
write() {
    printf %s "$payload" | base64 -d | while read -r file mode owner seen content; do
        now=$(digest "$root$file") || return
        if [ "$now" != "$seen" ]; then
            echo "$file has changed since it was read" >&2
            return 1
        fi
    done || return
    printf %s "$payload" | base64 -d | while read -r file mode owner seen content; do
        directory "$root${file%/*}" || return
        put "$root$file" "$content" "$mode" "${owner#-}" || return
    done
}

# start UNIT PROGRAM PORTS DATA LOG USER
start() {
    try ctl daemon-reload
    status "$1"
    if [ "$load" != loaded ]; then
        refuse "there is no unit $1 that systemd can load ($load)"
    fi
    if [ "$pid" != 0 ]; then
        refuse "$1 runs already"
    fi
    if ! [ -x "$root$2" ]; then
        refuse "$2 is not there or cannot be executed"
    fi
    printf '%s\n' "$3" | while read -r address port pattern; do
        if [ -n "$port" ] && grep -qE "$pattern" "$root/proc/net/tcp" "$root/proc/net/tcp6" 2>/dev/null; then
            echo "port $port on $address is taken by another process"
            break
        fi
    done >"$state/.ports" 2>&1
    taken=$(cat "$state/.ports") && rm -f "$state/.ports"
    if [ -n "$taken" ]; then
        refuse "$taken"
    fi
    if [ -n "$4" ]; then
        directories "$4" "$5" "$6"
    fi
    held=
    if [ -e "$state/held/$1" ]; then
        held=y
        try rm "$state/held/$1"
    fi
    before=$invocation
    if wrong=$(begin "$1" 2>&1 >/dev/null) && patiently 10 has_come "$1" && [ "$last_status" -lt 200 ]; then
        return
    fi
    if [ -n "$held" ]; then
        : >"$state/held/$1"
    fi
    stop "$1" 10
    refuse "${wrong:-systemd could not start $1: $active, status $last_status}"
}

begin() {
    # The counter of starts, too, begins again.
    ctl reset-failed "$1" 2>/dev/null || :
    ctl enable --quiet "$1" || return
    # So that it comes back after a power cut, whatever the file system makes of links.
    sync "$root/etc/systemd/system" "$root/etc/systemd/system"/*.wants 2>/dev/null || :
    ctl start --no-block "$1"
}

# Whether a program was there since the start; it may have failed since.
has_come() {
    status "$1"
    [ "$invocation" != "$before" ] && { [ "$pid" != 0 ] || [ "$active" = failed ] ||
        { [ "$last_pid" != 0 ] && [ "$active" != activating ]; } ||
        { [ "$last_pid" != 0 ] && [ "$last_status" != 0 ]; }; }
}

# Whether the former program is gone: to end may take it long.
was_restarted() {
    status "$1"
    [ "$invocation" != "$before" ] || [ "$active" = inactive ] || [ "$active" = failed ]
}

# hold UNIT GRACE
hold() {
    drop_in=$root/etc/systemd/system/$1.d/00-etcdplan-held.conf
    try directory "${drop_in%/*}"
    try mkdir -p "$state/held"
    try put "$drop_in" "$(encoded "[Unit]
ConditionPathExists=!/var/lib/etcdplan/held/$1
")" 644
    try ctl daemon-reload
    try put "$state/.held" '' 600
    stop "$1" "$2"
    try mv -fT "$state/.held" "$state/held/$1"
    try sync "$state/held"
    if [ "$load" = loaded ]; then
        try ctl disable --quiet "$1"
    fi
}

public_key_of() {
    openssl pkey -in "$1" -passin pass: -pubout 2>/dev/null
}

make_key() {
    waiting=$pki/.$1.new
    directory "$pki" && mkdir -p "$waiting" || return
    new=$(mktemp "$waiting/.tls.key.XXXXXXXX") || return
    if openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$new" && public_key_of "$new" >/dev/null &&
        sync "$new" && mv -fT "$new" "$waiting/tls.key"; then
        sync "$waiting"
        return
    fi
    rm -f "$new"
    return 1
}

# The request names nobody: names come from the signer.
request_for() {
    printf '[req]\ndistinguished_name=dn\n[dn]\n' |
        openssl req -new -sha256 -key "$pki/.$1.new/tls.key" -subj / -config /dev/stdin
}

is_number() {
    case $1 in '' | *[!0-9]*) return 1 ;; esac
}

# install_leaf LEAF OWNER: one rename of a link swaps both files.
install_leaf() {
    waiting=$pki/.$1.new
    put "$waiting/tls.crt" "$payload" 644 || return
    key=$(public_key_of "$waiting/tls.key") || key=
    certificate=$(openssl x509 -in "$waiting/tls.crt" -noout -pubkey 2>/dev/null) || certificate=
    if [ -z "$key" ] || [ "$key" != "$certificate" ]; then
        echo "the certificate for $1 does not belong to the key that waits for it" >&2
        return 1
    fi
    highest=0 former=$(readlink "$pki/$1") || former=
    for pair in "$pki/.$1".*; do
        number=${pair#"$pki/.$1."}
        if is_number "$number" && [ "$number" -gt "$highest" ]; then
            highest=$number
        fi
    done
    pair=.$1.$((highest + 1)) link=$pki/.$1.link-$$
    chown -R "$2" "$waiting" && chmod 700 "$waiting" && mv -T "$waiting" "$pki/$pair" || return
    rm -f "$link"
    ln -s "$pair" "$link" || return
    if ! mv -fT "$link" "$pki/$1"; then
        rm -f "$link"
        return 1
    fi
    sync "$pki" || return
    # The newest of the former pairs is kept. The new one is in use: what cannot be removed does no harm.
    for old in "$pki/.$1".*; do
        if is_number "${old#"$pki/.$1."}" && [ "${old##*/}" != "$pair" ] && [ "${old##*/}" != "$former" ]; then
            rm -rf "$old" 2>/dev/null || :
        fi
    done
}

case $verb in write | install-leaf | trust | record) receive "$1" && shift ;; esac
claimed "$id" "$token" "$text"
case $verb in
write) # SIZE UNIT USER PROGRAM SERVICE: the last two are the dead-man's, if one is to be armed
    if [ -n "$2" ]; then
        user "$2"
    fi
    if [ -n "$3" ]; then
        arm "$1" "$3" "$4"
    fi
    try write
    try ctl daemon-reload
    forget_failure "$1"
    ;;
start) start "$@" ;;
stop) stop "$@" ;;
hold)
    hold "$@"
    try disarm "$1"
    ;;
disarm) try disarm "$1" ;; # UNIT
restart-running) # SECONDS UNIT...
    limit=$1 running=
    shift
    for unit in "$@"; do
        status "$unit"
        if [ "$pid" != 0 ]; then
            try ctl try-restart --no-block "$unit"
            running="$running $unit $invocation"
        fi
    done
    # shellcheck disable=SC2086 # words
    set -- $running
    while [ $# -gt 0 ]; do
        before=$2
        patiently "$limit" was_restarted "$1" || refuse "$1 is not restarted after $limit s ($active)"
        shift 2
    done
    ;;
roll-back) # UNIT WHY
    if [ -e "$dead_man/armed/$1" ]; then
        fire "$1" "$2"
    fi
    ;;
drained) # API-SERVER YES-OR-NOTHING
    try mkdir -p "$state/drained"
    if [ -n "$2" ]; then
        try put "$state/drained/$1" '' 600
    else
        try rm -f "$state/drained/$1"
        try sync "$state/drained"
    fi
    ;;
set-aside) # UNIT DATA LOG
    is_gone "$1" || refuse "$1 still runs on the data"
    try disarm "$1"
    try set_aside "$root$2" "${3:+$root$3}"
    ;;
make-key) # LEAF
    try make_key "$1"
    request=$(request_for "$1" 2>/dev/null) || refuse "openssl could not make a request for $1"
    answer done "$(encoded "$request
")"
    ;;
install-leaf) # SIZE LEAF UNIT-THAT-READS-IT USER-WHEN-THERE-IS-NO-UNIT ETCD-UNIT
    status "$2"
    owner=$3
    if [ "$load" = loaded ]; then
        owner=$(ctl show -p User --value "$2")
        owner=${owner:-root}
    fi
    user "$owner"
    try install_leaf "$1" "$owner:"
    forget_failure "$4"
    ;;
trust) # SIZE ETCD-UNIT
    try directory "$pki"
    try put "$pki/ca.crt" "$payload" 644
    forget_failure "$1"
    ;;
record) try put "$state/record.json" "$payload" 600 ;;
forget-record)
    try rm -f "$state/record.json"
    try sync "$state"
    ;;
*) refuse "there is no effect $verb" ;;
esac
answer done
