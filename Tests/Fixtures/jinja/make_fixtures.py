#!/usr/bin/env python3
"""Small templates rendered by Jinja as Transformers sets it up for chat templates: writes cases.json beside this script.

Needs transformers (5.23) and jinja2 (3.1). A case has the template, its variables, and the text, or null where rendering raises.
"""
import json, os
from transformers.utils.chat_template_utils import _compile_jinja_template

M = [{"role": "system", "content": " s "}, {"role": "user", "content": "u\u00e9\U0001f600"}, {"role": "assistant", "content": "a"}]
V = {"messages": M, "n": 7, "x": 2.5, "t": "Hello World", "e": "", "none": None, "yes": True, "d": {"b": 1, "a": [1, 2, 3]},
     "l": [3, 1, 2], "bos_token": "<s>", "html": "<a href='x'>&\"</a>"}
EXPRESSIONS = """
1 + 2 * 3 ** 2
7 // 2 ~ '|' ~ -7 // 2 ~ '|' ~ -7 % 3 ~ '|' ~ 7 / 2
1e3 ~ 0.1 ~ 1e22 ~ 1e-7 ~ 100000.0
n > 3 and n < 10 or missing
not n == 7
n in l or 3 in l
'lo' in t and 'xx' not in t
'yes' if yes else 'no'
('a' if not yes)
t[0] ~ t[-1] ~ t[1:4] ~ t[::-1] ~ t[-3:]
l[::-1] ~ l[1:] ~ d['a'][-1] ~ d.b
messages[1:] | length
missing
missing.inner
missing is defined
none ~ true ~ [1, 'a', none, true, 2.0] ~ {'k': 'v'} ~ (1, ) ~ (1, 2)
messages[0].content | trim
messages[0]['missing'] is undefined
t | upper ~ (t | lower) ~ (t | title) ~ ('hELLO' | capitalize)
t | replace('o', '0') ~ (t | length)
l | join(', ') ~ (l | sort | join) ~ (l | first) ~ (l | last) ~ (l | sum) ~ (l | max) ~ (l | min)
l | map('string') | join('-')
messages | map(attribute='role') | join(' ')
messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list
messages | rejectattr('role', 'in', ['user', 'system']) | list | length
l | select('odd') | list ~ (l | reject('odd') | list)
d | tojson ~ (d | tojson(indent=2))
html | tojson
html | e
d | dictsort ~ (d.items() | list) ~ (d.keys() | list) ~ (d.values() | list)
missing | default('x') ~ (e | default('y')) ~ (e | default('y', true))
'3' | int + 1 ~ ('x' | int) ~ ('2.5' | float) ~ (x | round) ~ (-3 | abs)
[1, 2, 2, 3, 1] | unique | list
l | reverse | list ~ ('abc' | reverse)
'a\\nb' | indent(2) ~ ('a\\nb' | indent(2, true))
d | items | list
x | string ~ (n | string)
t.strip('Hd') ~ t.lstrip('H') ~ t.rstrip('d') ~ ' a '.strip()
'a,b,,c'.split(',') ~ 'a b  c'.split() ~ 'a,b,c'.split(',', 1) ~ 'a,b,c'.rsplit(',', 1)
t.startswith('He') ~ t.endswith(('x', 'ld')) ~ t.find('o') ~ t.index('W') ~ t.count('l')
t.upper() ~ t.lower() ~ t.title() ~ t.replace('l', 'L', 1) ~ '-'.join(['a', 'b'])
d.get('b') ~ d.get('z') ~ d.get('z', 5)
'a\\nb'.splitlines()
range(3) | list ~ (range(1, 7, 2) | list)
'%s is %d and %.2f' % ('x', 3, 2.5)
'{} {}'.format(1, 'a')
n is number ~ (t is string) ~ (d is mapping) ~ (l is iterable) ~ (l is sequence) ~ (none is none) ~ (yes is boolean) ~ (n is odd)
n is even ~ (n is divisibleby 7) ~ (1 is eq 1) ~ (1 is in [1]) ~ (yes is true) ~ (e is false) ~ (x is float) ~ (n is integer)
true == 1 ~ (1 == 1.0) ~ ('1' == 1) ~ ([1] == [1]) ~ (none == missing)
'a' < 'b' ~ ([1, 2] < [1, 3]) ~ (1 < 2 < 3)
1 < 'a'
l.append(4)
1 // 0
raise_exception('no')
t.nothing()
unknown_function()
t.__class__
messages | length > 2 and messages[0].role == 'system'
"it's" ~ 'say "hi"' ~ ["it's", 'say "hi"']
'\\u00e9\\t\\\\'
t | trim('H')
t[100] ~ '|'
t | batch(4) | list
l | groupby('x') | list
""".strip("\n").split("\n")
TEMPLATES = [
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ m.role }}\n{% endfor %}",
    "{%- for m in messages if m.role != 'system' -%} {{ m.content }} {%- else -%} none {%- endfor -%}\n",
    "{% for x in [] %}a{% else %}empty{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}",
    "{% for i in l %}{{ loop.cycle('a', 'b') }}{{ loop.revindex }}{% endfor %}",
    "{% set ns = namespace(found=false, n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% if m.role == 'user' %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }}{{ ns.n }}",
    "{% set a = 1 %}{% for i in l %}{% set a = i %}{% endfor %}{{ a }}",
    "{% if n == 7 %}{% set b = 2 %}{% endif %}{{ b }}",
    "{% macro f(a, b='x') %}[{{ a }}|{{ b }}|{{ varargs }}|{{ kwargs }}]{% endmacro %}{{ f(1) }}{{ f(1, b=2) }}{{ f(1, 2, 3, c=4) }}",
    "{% macro f() %}({{ caller() }}){% endmacro %}{% call f() %}inner{% endcall %}",
    "{% set a %}b{{ n }}c{% endset %}{{ a | upper }}",
    "{% set a, b = 1, 2 %}{{ b }}{{ a }}",
    "{% filter upper %}abc{{ t }}{% endfilter %}",
    "{% with a = 3 %}{{ a }}{% endwith %}{{ a is defined }}",
    "{% raw %}{{ x }}{% endraw %}",
    "a  {#- comment -#}  b {# c #} d",
    "  {% if yes %}\n  x\n  {% endif %}\ny\n",
    "{{ 'a' }}\n\n{{ 'b' }}\n",
    "{{- 'a' -}}  \n  {{ 'b' +}} \n {%+ if yes %} c{% endif %}",
    "{% if missing %}a{% elif n > 5 %}b{% else %}c{% endif %}",
    "{% if messages[0]['role'] == 'assistant' %}{{ raise_exception('order') }}{% endif %}ok",
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('order') }}{% endif %}ok",
    "{% generation %}a{% endgeneration %}b",
    "{% unknown %}", "{{ n | unknown }}", "{{ n is unknown }}", "{% if %}", "{{ 'a }}", "{% for x in l %}", "{{ n.x.y }}", "{{ (1 }}",
]

def render(template):
    try:
        return _compile_jinja_template(template).render(**V)
    except Exception:
        return None

cases = [{"template": "{{ " + e + " }}", "text": render("{{ " + e + " }}")} for e in EXPRESSIONS]
cases += [{"template": t, "text": render(t)} for t in TEMPLATES]
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases.json")
with open(path, "w", encoding="utf-8") as f:
    f.write(json.dumps({"variables": V, "cases": cases}, indent=1, ensure_ascii=True) + "\n")
print(len(cases), "cases,", sum(c["text"] is None for c in cases), "of them refused")
