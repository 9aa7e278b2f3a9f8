# Completes asistry in bash. Written by: asistry completions bash
_asistry() {
    local line kind=
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ -z $kind ]]; then kind=$line; else COMPREPLY+=("$line"); fi
    done < <(command asistry __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
    if [[ $kind == files && $2 == @* ]]; then
        # To readline, @ belongs to the name of the file.
        while IFS= read -r line; do
            if [[ -d $line ]]; then printf -v line '@%q/' "$line"; else printf -v line '@%q ' "$line"; fi
            COMPREPLY+=("$line")
        done < <(compgen -f -- "${2#@}")
    elif [[ $kind == files ]]; then
        # bash 3 has no compopt, and completes no files here.
        compopt -o default +o nospace 2>/dev/null
    fi
    return 0
}
# A candidate brings its own space along, unless the word goes on after it. bash 3 knows no nosort.
complete -o nospace -o nosort -F _asistry asistry 2>/dev/null || complete -o nospace -F _asistry asistry
