# What jaq lacks of jq, or does otherwise.
def tostring: if type == "string" then . else tojson end;
def halt_error: error;
def halt_error($code): error;
def toarray: if type == "array" then . else [.] end;
def ltrimstr($x):
  if type == "string" and ($x | type) == "string" and startswith($x) then .[($x | length):] else . end;
def rtrimstr($x):
  if type == "string" and ($x | type) == "string" and endswith($x) then .[:length - ($x | length)] else . end;
def trimstr($x): ltrimstr($x) | rtrimstr($x);
def tonumber:
  if type == "number" then .
  elif type == "string" and test("^-?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?$")
  then sub("^(?<sign>-?)0+(?<digit>[0-9])"; "\(.sign)\(.digit)") | fromjson
  else error("\(tojson) cannot be parsed as a number") end;
def setpath($path; $x):
  if $path == [] then $x
  else
    $path[0] as $at
    | if . == null then if ($at | type) == "number" then [] else {} end end
    | if ($at | type) == "number" and type == "array" and $at >= length
      then . + [range($at - length) | null] + [null | setpath($path[1:]; $x)]
      else .[$at] = (.[$at] | setpath($path[1:]; $x)) end
  end;
def pick(f): . as $top | reduce path(f) as $path (null; setpath($path; $top | getpath($path)));
def leaf_paths: paths(scalars);
def tostream:
  path(def r: (.[]? | r), .; r) as $p | getpath($p) | reduce path(.[]?) as $q ([$p, .]; [$p + $q]);
def fromstream(f):
  foreach f as $i (
    {x: null, e: false};
    if .e then {x: null, e: false} end
    | if ($i | length) == 2
      then .e = (($i[0] | length) == 0) | .x = (.x | setpath($i[0]; $i[1]))
      else .e = (($i[0] | length) == 1) end;
    if .e then .x else empty end);
def truncate_stream(stream):
  . as $n | null | stream | select((.[0] | length) > $n) | .[0] = .[0][$n:];
def IN(s): any(s == .; .);
def IN(src; s): any(src == s; .);
def INDEX(stream; f): reduce stream as $row ({}; .[$row | f | tostring] = $row);
def INDEX(f): INDEX(.[]; f);
def ascii: [.] | implode;
def _row(text; kind):
  if type != "array" then error("\(type) is no array, so it is no \(kind) row") end
  | map(if type == "string" then text elif . == null then ""
        elif type == "array" or type == "object" then error("\(type) is not valid in a \(kind) row")
        else tostring end);
def @tsv:
  _row((. / "\\" | join("\\\\")) | (. / "\t" | join("\\t")) | (. / "\n" | join("\\n")) | (. / "\r" | join("\\r")); "tsv")
  | join("\t");
def @csv: _row("\"" + (. / "\"" | join("\"\"")) + "\""; "csv") | join(",");
