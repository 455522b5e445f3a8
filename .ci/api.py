"""Checks the public API against the list in `.ci/api.txt`: a name that goes, or changes, breaks somebody.

    .ci/api.py [--write]

Reads what rustdoc knows as JSON, which stable Rust writes if it is told to. Also builds the documentation as docs.rs does.
"""

import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile

LIST = pathlib.Path(__file__).parent / "api.txt"


def documented():
    """The crate as rustdoc sees it. Only rustdoc is told to take unstable options: dependencies need not be built again."""
    with tempfile.TemporaryDirectory() as folder:
        rustdoc = pathlib.Path(folder) / "rustdoc"
        rustdoc.write_text('#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc "$@"\n')
        rustdoc.chmod(rustdoc.stat().st_mode | stat.S_IXUSR)
        build = ["cargo", "rustdoc", "--quiet", "--all-features", "--lib", "--", "--cfg", "docsrs", "-D", "warnings"]
        environment = os.environ | {"RUSTDOC": str(rustdoc)}
        subprocess.run([*build, "-Z", "unstable-options", "--output-format", "json"], check=True, env=environment)
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
        crate = json.loads((target / "doc/hr_prometheus.json").read_text())
        # Each of the two removes what the other wrote; the pages stay, for `.ci/links.py`.
        subprocess.run(build, check=True, env=environment)
    return crate


def path(of):
    return of["path"].removeprefix("$crate::") + arguments(of.get("args"))


def arguments(args):
    if not args:
        return ""
    if "parenthesized" in args:
        inner = args["parenthesized"]
        output = f" -> {text(inner['output'])}" if inner["output"] else ""
        return f"({', '.join(map(text, inner['inputs']))}){output}"
    bracketed = args["angle_bracketed"]
    parts = [arg.get("lifetime") or (text(arg["type"]) if "type" in arg else "const") for arg in bracketed["args"]]
    for constraint in bracketed["constraints"]:
        (kind, value), = constraint["binding"].items()
        parts.append(f"{constraint['name']}{' = ' + term(value) if kind == 'equality' else ': ' + bounds(value)}")
    return f"<{', '.join(parts)}>" if parts else ""


def term(value):
    return text(value["type"]) if "type" in value else "const"


def bounds(of):
    def one(bound):
        (kind, value), = bound.items()
        if kind != "trait_bound":
            return str(value)
        return ("?" if value["modifier"] == "maybe" else "") + path(value["trait"])

    return " + ".join(map(one, of))


def text(kind):
    """A type as it is written."""
    if kind is None:
        return "()"
    if isinstance(kind, str):
        return kind
    (name, of), = kind.items()
    match name:
        case "resolved_path":
            return path(of)
        case "generic" | "primitive":
            return of
        case "borrowed_ref":
            lifetime = f"{of['lifetime']} " if of["lifetime"] else ""
            return f"&{lifetime}{'mut ' if of['is_mutable'] else ''}{text(of['type'])}"
        case "tuple":
            return f"({', '.join(map(text, of))})"
        case "slice":
            return f"[{text(of)}]"
        case "array":
            return f"[{text(of['type'])}; {of['len']}]"
        case "impl_trait":
            return f"impl {bounds(of)}"
        case "dyn_trait":
            return "dyn " + " + ".join([path(each["trait"]) for each in of["traits"]] + [of["lifetime"]] * bool(of["lifetime"]))
        case "qualified_path":
            of_trait = f" as {path(of['trait'])}" if of["trait"] and of["trait"]["path"] else ""
            return f"<{text(of['self_type'])}{of_trait}>::{of['name']}"
        case "function_pointer":
            return "fn" + signature(of["sig"])
    raise ValueError(name)


def signature(sig):
    inputs = ", ".join(f"{name}: {text(kind)}" for name, kind in sig["inputs"])
    inputs = inputs.replace("self: Self", "self").replace("self: &Self", "&self").replace("self: &mut Self", "&mut self")
    return f"({inputs})" + (f" -> {text(sig['output'])}" if sig["output"] else "")


def generics(of):
    """The parameters, and what is asked of them."""
    names, asked = [], []
    for param in of["params"]:
        (kind, value), = param["kind"].items()
        if kind == "type" and value["is_synthetic"]:
            continue
        default = f" = {text(value['default'])}" if kind == "type" and value["default"] else ""
        names.append(param["name"] + default)
        if kind == "type" and value["bounds"]:
            asked.append(f"{param['name']}: {bounds(value['bounds'])}")
    for predicate in of["where_predicates"]:
        if "bound_predicate" in predicate:
            asked.append(f"{text(predicate['bound_predicate']['type'])}: {bounds(predicate['bound_predicate']['bounds'])}")
    return (f"<{', '.join(names)}>" if names else ""), (f" where {', '.join(sorted(asked))}" if asked else "")


class Api:
    def __init__(self, crate):
        self.index = crate["index"]
        self.lines = set()
        for item in self.items(self.index[str(crate["root"])]["inner"]["module"]["items"]):
            self.add(item, "")

    def items(self, ids):
        return [self.index[str(each)] for each in ids if str(each) in self.index]

    def add(self, item, prefix):
        (kind, of), = item["inner"].items()
        name = prefix + (item["name"] or "")
        non_exhaustive = "#[non_exhaustive] " if "non_exhaustive" in item["attrs"] else ""
        if kind == "use":
            target = self.index.get(str(of["id"]))
            return self.add(target, prefix) if target else self.lines.add(f"use {of['source']}")
        params, asked = generics(of["generics"]) if isinstance(of, dict) and "generics" in of else ("", "")
        if kind == "function":
            header = "".join(f"{word} " for word in ["const", "async", "unsafe"] if of["header"][f"is_{word}"])
            default = " { … }" if item.get("visibility") == "default" and of["has_body"] else ""
            return self.lines.add(f"{header}fn {name}{params}{signature(of['sig'])}{asked}{default}")
        if kind in ("assoc_type", "assoc_const", "constant"):
            value = of.get("type")
            return self.lines.add(f"{kind} {name}{': ' + bounds(of['bounds']) if of.get('bounds') else ''}{' = ' + text(value) if value else ''}")
        if kind in ("macro", "proc_macro", "module", "type_alias"):
            return self.lines.add(f"{kind} {name}{params}")
        self.lines.add(f"{non_exhaustive}{kind} {name}{params}{asked}" + (f": {bounds(of['bounds'])}" if of.get("bounds") else ""))
        for member in self.items(of.get("items", []) + of.get("variants", [])):
            if "variant" in member["inner"]:
                self.lines.add(f"variant {name}::{member['name']}{json.dumps(member['inner']['variant']['kind']) if member['inner']['variant']['kind'] != 'plain' else ''}")
            else:
                self.add(member, f"{name}::")
        for each in self.items(of.get("impls", [])):
            self.add_impl(each["inner"]["impl"], name)

    def add_impl(self, of, name):
        params, asked = generics(of["generics"])
        if of["trait"] is None:
            for member in self.items(of["items"]):
                self.add(member, f"{text(of['for'])}::")
        # Auto traits too: a type that is not `Send` any more breaks somebody.
        elif of["blanket_impl"] is None:
            negative = "!" if of["is_negative"] else ""
            asked = "" if of["is_synthetic"] else asked
            self.lines.add(f"impl{params} {negative}{path(of['trait'])} for {text(of['for'])}{asked}")


found = sorted(Api(documented()).lines)
if "--write" in sys.argv:
    LIST.write_text("\n".join(found) + "\n")
known = LIST.read_text().splitlines()
differences = [f"- {line}" for line in known if line not in found] + [f"+ {line}" for line in found if line not in known]
if differences:
    print("\n".join(differences))
    sys.exit("FAILED: the public API is not as listed; if that is meant, `.ci/api.py --write`, and say so in the changelog")
print(len(found), "lines of public API are as listed")
