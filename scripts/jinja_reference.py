#!/usr/bin/env python3
"""Writes tests/jinja_cases.h: small templates and what transformers' Jinja environment makes of them.

    pip install transformers jinja2; scripts/jinja_reference.py > tests/jinja_cases.h
make never needs Python."""
import datetime
import json

import jinja2
from transformers.utils import chat_template_utils

VARIABLES = {
    "a": 7, "b": -3, "f": 2.5, "big": 123456789012345678901234567890, "s": "Hello, World", "e": "", "t": True, "n": None,
    "ko": "한국어 ß ǆ Σας", "l": [3, 1, 2], "names": ["bob", "Alice", "carol", "alice"], "q": "it's \"so\"\n\t\\",
    "d": {"b": 1, "a": [1, {"x": None}], "C": "z"}, "empty": {}, "none_list": [], "html": "<a href='x'>&\"",
    "m": [{"role": "user", "content": "Hi", "n": 3}, {"role": "assistant", "content": "Yo", "n": 1},
          {"role": "user", "content": "", "n": 2}],
    "lines": "one\ntwo\r\n\nthree", "blank": " \t x y \n",
}

CASES = r'''
{{ a + b }} {{ a - b }} {{ a * b }} {{ a / 2 }} {{ a // 2 }} {{ b // 2 }} {{ a % 4 }} {{ b % 4 }} {{ a ** 2 }} {{ 2 ** -1 }}
{{ 7 // -2 }} {{ 7 % -2 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1 / 3 }} {{ 10 / 2 }} {{ 2 ** 0.5 }} {{ f * 2 }} {{ 1e16 }} {{ 1e15 }} {{ 1.5e-5 }} {{ 0.0001 }} {{ 1e-5 }} {{ 123456789.125 }} {{ 1.0 }} {{ -0.0 }} {{ 1e300 * 1e10 }}
{{ 1 / 0 }}
{{ a % 0 }}
{{ big }} {{ [big] }} {{ big|tojson }}
{{ true + true }} {{ t * 3 }} {{ -t }} {{ +f }} {{ - -3 }}
{{ 'a' + 1 }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1, 'x'] }}
{{ 'ab' * 3 }} {{ 2 * 'x' }} {{ [1] * 2 }} {{ (1, 2) + (3,) }} {{ [1] + [2] }} {{ 'x' * -1 }}|
{{ [1] + (2,) }}
{{ none + 1 }}
{{ undefined_thing }}|{{ undefined_thing.x is defined }}
{{ undefined_thing.x }}
{{ undefined_thing + 1 }}
{{ undefined_thing ~ 'x' }} {{ undefined_thing == undefined_other }} {{ undefined_thing == none }} {{ not undefined_thing }} {{ undefined_thing|length }} {{ undefined_thing|list }} {{ undefined_thing is iterable }} {{ undefined_thing is sequence }} {{ undefined_thing is mapping }} {{ undefined_thing is callable }}
{% for x in undefined_thing %}x{% else %}none{% endfor %}
{{ undefined_thing() }}
{{ undefined_thing[0] }}
{{ undefined_thing[1:] }}
{{ undefined_thing < 1 }}
{{ -undefined_thing }}
{{ 'x' in undefined_thing }} {{ undefined_thing in [1] }}
{{ undefined_thing in 'abc' }}
{{ undefined_thing|tojson }}
{{ undefined_thing|int }}
{{ undefined_thing|float(3) }}
{{ (1|map('upper')) is defined }} {{ not 5|select('odd') }} {{ [1]|items is string }} {{ undefined_thing|truncate }}|{{ 'x' % undefined_thing }}
{{ 1|map('upper')|list }}
{{ m|groupby('nothing') }}
{% macro f() %}{% endmacro %}{{ f }} {{ [f] }}
{{ undefined_thing|default }}|{{ undefined_thing|default('x') }} {{ e|default('x') }}|{{ e|default('x', true) }} {{ none|default('y') }} {{ none|d('y', boolean=true) }}
{{ d.a }} {{ d['a'] }} {{ d.a[1].x }} {{ d.zz is defined }} {{ d.zz }}|{{ d['zz'] }}| {{ d.b is defined }}
{{ d.zz.yy }}
{{ d.items() }} {{ d.keys() }} {{ d.values() }} {{ d.keys()|list }} {{ d|list }} {{ d.items()|list }}
{{ d.get('b') }} {{ d.get('q') }} {{ d.get('q', 5) }} {{ d.get('q', default=5) }}
{{ d.pop('b') }}
{{ l.append(4) }}
{{ l.append is defined }} {{ d.update is defined }} {{ l.sort }}|
{{ d.items is defined }} {{ {'items': 5}.items }}
{{ {'items': 5}['items'] }} {{ d['items'] is callable }}
{{ l[0] }} {{ l[-1] }} {{ l[5] is defined }} {{ l[1:] }} {{ l[::-1] }} {{ l[:-1] }} {{ l[-2:] }} {{ l[5:] }} {{ l[::2] }} {{ l[1:1] }} {{ l[-100:100] }} {{ l[2:0:-1] }} {{ l[true] }}
{{ l['0'] is defined }} {{ l[1.0] is defined }} {{ l.0 }} {{ l.1 }}
{{ l[::0] }}
{{ l['a':] }}
{{ s[0] }} {{ s[-1] }} {{ s[1:4] }} {{ s[::-1] }} {{ s[99] is defined }} {{ s[:5] }} {{ s[-5:] }} {{ ko[0] }} {{ ko[1:3] }} {{ ko[::-1] }} {{ ko|length }}
{{ none[0] is defined }} {{ none.x is defined }} {{ a.x is defined }} {{ 5[0] is defined }}
{{ none[1:] }}
{{ d[1:] }}
{{ s.x.y }}
{{ 'it''s' }} {{ "a" 'b' "c" }}
{{ 'a\nb\t\\\'\"\x41\u00e9\101\q' }}
{{ '\x4' }}
{{ 'abc }}
{{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1_000 }} {{ 1_0.5 }} {{ 00 }}
{{ 007 }}
{{ true }} {{ True }} {{ false }} {{ None }} {{ none }} {{ (1,) }} {{ () }} {{ (1) }} {{ [] }} {{ {} }} {{ {'a': 1, 'b': [none]} }} {{ [1,] }} {{ {'a': 1,} }} {{ (1, 'a') }}
{{ q }}|{{ [q] }}|{{ ['it', "it's", 'say "x"'] }} {{ [ko] }} {{ ['\x7f\x85\u200b\u00a0\U0001f600'] }}
{{ 1, 2 }}
{{ a == 7 }} {{ a != 7.0 }} {{ 1 == true }} {{ 1 == '1' }} {{ [1, 2] == [1, 2] }} {{ [1] == (1,) }} {{ d == {'b': 1, 'C': 'z', 'a': [1, {'x': none}]} }} {{ none == false }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ (1, 'a') >= (1,) }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 >= 2 }} {{ 1 == 1 != 2 }} {{ 1 < 2 == true }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ [1] < [none] }}
{{ 'a' in 'abc' }} {{ 'd' not in 'abc' }} {{ '' in 'abc' }} {{ 1 in [1, 2] }} {{ 'b' in d }} {{ 1 in (2,) }} {{ 3 in range(5) }} {{ not 1 in [2] }} {{ none in [none] }} {{ 1.0 in [1] }}
{{ 1 in 'abc' }}
{{ 1 in 5 }}
{{ 1 in none }}
{{ a and b }} {{ e or 'x' }} {{ none or e }}|{{ e and 1 }}|{{ 0 or [] or {} }} {{ not e }} {{ not not a }} {{ true and not false }} {{ 1 or 1/0 }}
{{ 'y' if a else 'n' }} {{ 'y' if e }}| {{ ('y' if e) is defined }} {{ 1 if 0 else 2 if 0 else 3 }} {{ 'a' if true if false else 'c' }}
{{ ('y' if e).x }}
{{ a if b else c and d or f }} {{ -a|abs }} {{ (-a)|abs }} {{ 'a' ~ 'b'|upper }} {{ ('a' ~ 'b')|upper }}
{{ 1 + 2|string }}
{{ 2 * 3 ~ 4 + 5 }}
{{ 2 + 3 ~ 4 }}
{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 2 + 3 * 4 - 1 }} {{ 10 - 2 - 3 }} {{ 2 * 3 % 4 }}
{{ s|upper }} {{ s|lower }} {{ s|length }} {{ s|count }} {{ 'heLLo wOrld'|capitalize }} {{ 'heLLo wOrld-foo (bar) [x]'|title }} {{ "it's a" | title }} {{ "it's a".title() }} {{ ko|upper }} {{ ko|lower }} {{ ko|title }} {{ ko.title() }} {{ ko|capitalize }} {{ 'ΑΣ ΑΣΑ'|lower }} {{ s.swapcase() }}
{{ blank|trim }}|{{ blank.strip() }}|{{ blank.lstrip() }}|{{ blank.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xyaxy'|trim('xy') }}|{{ '\u3000a\u00a0'|trim }}|{{ none|trim }}|{{ 5|trim }}
{{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ ' a  b c '.split() }} {{ ' a  b c '.split(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'a b  c '.rsplit(none, 1) }} {{ 'a,b'.split(sep=',') }} {{ 'abc'.split('abc') }} {{ 'a,b,c'.split(',', maxsplit=0) }}
{{ 'a'.split('') }}
{{ 'a'.split(5) }}
{{ lines.splitlines() }} {{ lines.splitlines(true) }} {{ 'a\n'.splitlines() }} {{ ''.splitlines() }} {{ 'a\x0bb\x1cc\u2028d'.splitlines() }}
{{ 'aXbXc'.replace('X', '-') }} {{ 'aXbXc'.replace('X', '-', 1) }} {{ 'abc'.replace('', '.') }} {{ 'aaa'|replace('a', 'b', 2) }} {{ 'aaa'|replace('a', '') }}| {{ 123|replace('2', 'x') }} {{ 'aaa'|replace('aa', 'b') }} {{ 'abc'|replace('b', 5) }}
{{ 'abc'.replace('b', 5) }}
{{ s.startswith('Hell') }} {{ s.endswith('ld') }} {{ s.startswith(('x', 'He')) }} {{ s.startswith('l', 2) }} {{ s.find('o') }} {{ s.find('zz') }} {{ s.rfind('o') }} {{ s.index('W') }} {{ s.count('l') }} {{ s.count('') }} {{ ko.find('ß') }} {{ 'aaa'.count('aa') }} {{ s.endswith('o', 0, 5) }}
{{ s.index('zz') }}
{{ s.startswith(5) }}
{{ 'abc'.upper().lower().title() }} {{ 'a-b_c'.title() }} {{ '12'.isdigit() }} {{ '1a'.isalnum() }} {{ 'ab'.isalpha() }} {{ ' '.isspace() }} {{ ''.isdigit() }} {{ 'AB'.isupper() }} {{ 'aB'.islower() }} {{ '한'.isalpha() }} {{ 'é'.isascii() }} {{ '1'.isnumeric() }} {{ '1'.isdecimal() }}
{{ ', '.join(['a', 'b']) }} {{ ''.join('abc') }} {{ '-'.join(d) }} {{ '-'.join([]) }}|
{{ ','.join([1]) }}
{{ 'x'.center(5) }}|{{ 'x'.center(4) }}|{{ 'xy'.center(5, '*') }}|{{ 'x'.ljust(3, '.') }}|{{ 'x'.rjust(3) }}|{{ '5'.zfill(3) }}|{{ '-5'.zfill(4) }}|{{ 'x'|center(6) }}|
{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }} {{ 'x'.removesuffix('') }} {{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.partition('-') }} {{ 'abc'.rpartition('-') }}
{{ '{} {}'.format(1, 'a') }} {{ '{1} {0} {x}'.format(1, 2, x=3) }} {{ '{:>5}|{:<5}|{:^5}|{:*^5}'.format('a', 'b', 'c', 'd') }} {{ '{:05d} {:+d} {:,} {:x} {:#x} {:b} {:o} {:X}'.format(42, 42, 1234567, 255, 255, 5, 8, 255) }} {{ '{:.2f} {:8.3f} {:e} {:g} {:%}'.format(3.14159, 2.71828, 12345.678, 0.0001, 0.25) }} {{ '{{}} {!r} {!s}'.format('x', 'y') }} {{ '{0[a]} {1[0]}'.format({'a': 1}, [2]) }} {{ '{:.2}'.format('abc') }} {{ '{}'.format(none) }} {{ '{:,.2f}'.format(1234567.891) }} {{ '{:5}|{:5}'.format(1, 'a') }} {{ '{:.3}'.format(3.14159) }} {{ '{:010.2f}'.format(-3.14159) }} {{ '{:5}'.format(true) }}
{{ '{'.format(1) }}
{{ '{}'.format() }}
{{ '{:d}'.format('a') }}
{{ '%s and %d' % ('x', 5) }} {{ '%s' % 5 }} {{ '%05.1f|%-5s|%5s|%+d|%x|%o|%e|%g|%c|%%|%r' % (3.14159, 'ab', 'cd', 5, 255, 8, 12345.678, 0.5, 'z', 'q') }} {{ '%(a)s-%(b)d' % {'a': 'x', 'b': 2} }} {{ '%s' % [1, 2] }} {{ '%d' % 3.99 }} {{ '%3d|%-3d|%03d' % (5, 5, 5) }} {{ '%*d' % (5, 42) }} {{ '%.3s' % 'abcdef' }} {{ '%#x' % 255 }} {{ '%s' % none }} {{ '%i' % true }}
{{ '%s %s' % 'x' }}
{{ '%s' % ('a', 'b') }}
{{ '%d' % 'x' }}
{{ 'x' % 5 }}
{{ '%s %s'|format('a', 'b') }} {{ '%(x)s'|format(x=1) }}
{{ l|join }} {{ l|join(', ') }} {{ l|join(', ', attribute='x') }}| {{ m|join('-', attribute='role') }} {{ 'abc'|join('.') }} {{ [1, none, 'a']|join(',') }}
{{ l|first }} {{ l|last }} {{ ''|first }}|{{ []|last is defined }} {{ s|first }} {{ s|last }} {{ d|first }} {{ d|last }} {{ range(3)|last }}
{{ l|length }} {{ d|length }} {{ 'äö'|length }} {{ range(4)|length }} {{ d.items()|length }}
{{ 5|length }}
{{ none|length }}
{{ m|selectattr('role', 'equalto', 'user')|length }}
{{ m|selectattr('role', 'equalto', 'user')|list|length }} {{ m|selectattr('role', '==', 'user')|map(attribute='n')|list }} {{ m|rejectattr('role', 'eq', 'user')|list }} {{ m|selectattr('content')|list|length }} {{ m|selectattr('zz', 'defined')|list }} {{ m|selectattr('n', 'gt', 1)|map(attribute='n')|join(',') }} {{ m|map(attribute='zz', default='?')|list }} {{ m|map(attribute='role')|unique|list }} {{ (m|selectattr('n', 'in', [1, 2])|first).content }}
{% if m|selectattr('role', 'equalto', 'nobody') %}always{% endif %}
{% set g = l|map('string') %}{{ g|list }} {{ g|list }}
{{ names|map('upper')|list }} {{ names|map('replace', 'a', 'x')|list }} {{ l|select('odd')|list }} {{ l|reject('odd')|list }} {{ l|select('>', 1)|list }} {{ [0, 1, '', 'a']|select|list }} {{ [0, 1, none]|reject|list }} {{ l|select('divisibleby', 3)|list }} {{ none|select|list }} {{ names|map('length')|sum }} {{ m|map(attribute='0')|list }} {{ [[1, 2], [3, 4]]|map(attribute=1)|list }} {{ [[1, 2], [3, 4]]|map('last')|list }}
{{ l|map('nofilter')|list }}
{{ l|map }}
{{ l|select('notest')|list }}
{{ l|sort }} {{ l|sort(reverse=true) }} {{ names|sort }} {{ names|sort(case_sensitive=true) }} {{ m|sort(attribute='n')|map(attribute='n')|list }} {{ m|sort(attribute='role,n')|map(attribute='n')|list }} {{ l|min }} {{ l|max }} {{ names|min }} {{ names|max }} {{ []|min is defined }} {{ m|max(attribute='n') }} {{ names|unique|list }} {{ names|unique(true)|list }} {{ 'bca'|sort }} {{ d|sort }}
{{ [1, 'a']|sort }}
{{ d|dictsort }} {{ d|dictsort(true) }} {{ {'x': 2, 'y': 1}|dictsort(by='value') }} {{ {'x': 2, 'y': 1}|dictsort(reverse=true) }} {{ d|items|list }} {{ undefined_thing|items|list }}
{{ d|dictsort(by='zz') }}
{{ l|dictsort }}
{{ l|items }}
{{ l|sum }} {{ [1.5, 2]|sum }} {{ m|sum(attribute='n') }} {{ [[1], [2]]|sum(start=[]) }} {{ []|sum }} {{ l|sum(start=10) }}
{{ l|reverse|list }} {{ s|reverse }} {{ ko|reverse }} {{ d|reverse|list }} {{ range(3)|reverse|list }}
{{ (l|reverse)[0] is defined }} {{ l|reverse is iterable }} {{ l|reverse is sequence }}
{{ range(7)|batch(3)|list }} {{ range(7)|batch(3, 'x')|list }} {{ range(7)|slice(3)|list }} {{ range(7)|slice(3, 'x')|list }}
{% for k, v in m|groupby('role') %}{{ k }}:{{ v|length }} {% endfor %}{% for g in m|groupby('role') %}{{ g.grouper }}={{ g.list|map(attribute='n')|join(',') }};{% endfor %}
{{ '42'|int }} {{ '4.9'|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ 3.99|int }} {{ -3.99|int }} {{ true|int }} {{ none|int }} {{ '0x1f'|int(base=16) }} {{ ' 5 '|int }} {{ '1_000'|int }} {{ '1e3'|int }} {{ []|int }} {{ '1.5'|float }} {{ 'x'|float }} {{ 'x'|float(1.5) }} {{ 3|float }} {{ '1e3'|float }} {{ 'inf'|float }} {{ 'nan'|float }} {{ '.5'|float }} {{ '5.'|float }} {{ '-1_0.5'|float }}
{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 42.55|round(1, 'floor') }} {{ 42.55|round(1, 'ceil') }} {{ 7|round }} {{ 1234|round(-2) }} {{ 1250.0|round(-2) }} {{ -2.5|abs }} {{ b|abs }} {{ 1e22|round }}
{{ 'x'|round }}
{{ 5|string }} {{ none|string }} {{ l|string }} {{ 'a'|list }} {{ (1, 2)|list }} {{ d|list }} {{ ''|list }}
{{ html|e }} {{ html|escape|upper }} {{ html|safe }} {{ html|safe|e }} {{ html|e|e }} {{ html|forceescape }} {{ ('<'|safe) + '<' }} {{ '<' + ('<'|safe) }} {{ ('<'|safe) ~ '<' }} {{ [html|safe] }} {{ 'x'|safe is escaped }} {{ ('a<b'|safe).replace('<', '<<') }} {{ ('<'|safe).join(['<', '>']) }} {{ ('<%s>'|safe) % '<' }} {{ ('<'|safe) == '<' }} {{ ('x'|safe)|tojson }}
{{ d|tojson }} {{ l|tojson }} {{ q|tojson }} {{ ko|tojson }} {{ ko|tojson(ensure_ascii=true) }} {{ html|tojson }} {{ none|tojson }} {{ true|tojson }} {{ 1.5|tojson }} {{ [1, (2, 3)]|tojson }} {{ {1: 2, none: 3, true: 4}|tojson }} {{ [1e400, -1e400]|tojson }} {{ '\x7f\u2028😀'|tojson }} {{ '\x7f\u2028😀'|tojson(true) }}
{{ d|tojson(indent=2) }} {{ l|tojson(indent=0) }} {{ {}|tojson(indent=2) }} {{ []|tojson(indent=4) }} {{ d|tojson(indent='--') }} {{ [[], [[]], {}]|tojson(indent=1) }} {{ d|tojson(separators=(',', ':')) }} {{ d|tojson(sort_keys=true) }} {{ d|tojson(indent=2, separators=(' , ', ' : ')) }} {{ d|tojson(indent=none) }} {{ d|tojson(false, 2) }} {{ d|tojson(indent=true) }}
{{ namespace(a=1)|tojson }}
{{ d.items()|tojson }}
{{ range(3)|tojson }}
{{ {(1, 2): 3}|tojson }}
{{ d.items()|list|tojson }} {{ m|map(attribute='role')|list|tojson }}
{{ lines|indent }}|{{ lines|indent(2, true) }}|{{ lines|indent(2, blank=true) }}|{{ lines|indent('> ') }}|{{ 'a\n'|indent }}|{{ ''|indent }}|
{{ 5|indent }}
{{ 'foo bar baz qux'|truncate(9) }} {{ 'foo bar baz qux'|truncate(9, true) }} {{ 'foo bar baz qux'|truncate(11) }} {{ 'foo bar baz qux'|truncate(11, false, '!', 0) }} {{ 'a b-c d_e'|wordcount }} {{ 'a b&c/d?é'|urlencode }} {{ {'a b': 'c d', 'x': 1}|urlencode }}
{{ 1 is number }} {{ true is number }} {{ 1.5 is float }} {{ 1 is integer }} {{ true is integer }} {{ 'a' is string }} {{ [] is sequence }} {{ {} is mapping }} {{ 'a' is iterable }} {{ 5 is iterable }} {{ none is none }} {{ 5 is none }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }} {{ true is boolean }} {{ 1 is boolean }} {{ 4 is even }} {{ 5 is odd }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 'a' is eq 'a' }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is ge 2 }} {{ 'a' is in 'abc' }} {{ 1 is not in [2] }} {{ 'a' is lower }} {{ 'A' is upper }} {{ none is sameas none }} {{ 1 is sameas true }} {{ {} is sequence }} {{ d.items() is sequence }} {{ range is callable }} {{ s is callable }} {{ 'upper' is filter }} {{ 'zz' is filter }} {{ 'odd' is test }} {{ (1,) is sequence }} {{ 'x' is defined }} {{ x is undefined }} {{ 1 == 1 is true }} {{ not x is defined }} {{ x is not defined and 1 }} {{ namespace() is mapping }} {{ namespace() is iterable }} {{ 1 is equalto(1) }}
{{ a is defined is true }}
{{ 5 is odd or 4 is odd }} {{ 1 if x is defined else 2 }} {{ 4 is divisibleby 2 and 1 }} {{ [1 is odd, 2] }} {{ 'a' is in(['a']) }}
{{ a is zz }}
{{ a|zz }}
{% if false %}{{ a|zz }}{% endif %}ok
{% if true %}{{ a|zz }}{% endif %}
{% if false %}{% for x in [1] %}{{ x|zz }}{% endfor %}{% endif %}
{{ 1 if true else a|zz }}
{{ a|zz if false else 2 }}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ x }} {% endfor %}
{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {{ loop.previtem is defined }} {{ loop.cycle('a', 'b') }} {{ loop.changed(x > 1) }} {{ loop.depth }}{{ loop.depth0 }};{% endfor %}
{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ loop.last }} {% else %}no{% endfor %}{% for x in l if x > 9 %}{% else %}no{% endfor %}
{% set ns = namespace(stop=false) %}{% for x in range(10) if not ns.stop %}{{ x }}{% if x == 3 %}{% set ns.stop = true %}{% endif %}{% endfor %}
{% for x in range(5) %}{% if x == 1 %}{% continue %}{% endif %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in 'añb' %}{{ c }}.{% endfor %}{% for (a, b) in [(1, 2)] %}{{ a }}{{ b }}{% endfor %}{{ a }}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% for a, b in [5] %}{% endfor %}
{% for x in none %}{% endfor %}
{% for x in 5 %}{% endfor %}
{% for x in [[1, [2, [3]]]] recursive %}{{ loop.depth }}:{% if x is iterable %}{{ loop(x) }}{% else %}{{ x }}{% endif %},{% endfor %}
{% for x in l %}{% set y = x %}{% endfor %}{{ y is defined }} {% set y = 1 %}{% for x in l %}{{ y }}{% set y = x %}{{ y }} {% endfor %}{{ y }}
{% if true %}{% set z = 5 %}{% endif %}{{ z }} {% set a = 1 %}{{ a }}
{% for x in [1] %}{% for y in [2] %}{{ loop.index }}{{ x }}{{ y }}{% endfor %}{{ loop.index }}{% endfor %}{{ loop is defined }}
{% set x, y = 1, 2 %}{{ x }}{{ y }} {% set (p, q) = 'ab' %}{{ p }}{{ q }} {% set t2 = 1, 2 %}{{ t2 }}
{% set x = y = 1 %}
{% set 5 = 1 %}
{% set none = 1 %}
{% set ns = namespace(x=1, l=[]) %}{% for i in l %}{% set ns.x = ns.x + i %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.x }} {{ ns.l }} {{ ns }} {{ ns.zz is defined }} {{ ns['x'] }} {{ namespace({'q': 1}).q }}
{% set d.x = 1 %}
{% set ns = namespace() %}{% set ns._x = 1 %}
{{ namespace(_x=1) }}
{{ dict(a=1, b=2) }} {{ dict({'a': 1}, b=3) }} {{ dict([('x', 1)]) }} {{ range(3)|list }} {{ range(1, 4)|list }} {{ range(5, 0, -2)|list }} {{ range(3) }} {{ range(0)|list }} {{ range(2, 5)[1] }} {{ range(5)[1:3]|list }}
{{ range(1000000) }}
{{ range(9)[2:7:2]|list }} {{ range(9)[::-1]|list }} {{ range(9)[-1] }} {{ range(9)[9] is defined }} {{ 3 in range(1, 9, 2) }} {{ 4 in range(1, 9, 2) }} {{ range(3) == range(3) }} {{ range(5)|last }} {{ range(5)|sum }} {{ range(5).index(3) }} {{ range(2)|length }} {% for i in range(5, 0, -2) %}{{ i }}{{ loop.last }}{{ loop.length }}{{ loop.nextitem }}{% endfor %}
{% for i in range(3) %}{% for j in range(i, -1, -1) %}{{ i }}{{ j }} {% if j == 1 %}{% break %}{% endif %}{% endfor %}{% endfor %}{% for i in range(4) if i % 2 %}{{ i }}/{{ loop.length }}{% endfor %}
{{ range('a') }}
{{ range(1, 2, 0) }}
{% set x %}a{{ a }}b{% endset %}[{{ x }}] {% set x | upper | trim %} abc {% endset %}[{{ x }}] {{ x is string }}
{% filter upper %}abc {{ s }}{% endfilter %} {% filter replace('a', 'b') | upper %}aaa{% endfilter %}
{% with x = 1, y = a %}{{ x }}{{ y }}{% endwith %}{{ x is defined }} {% with %}{% set w = 1 %}{{ w }}{% endwith %}{{ w is defined }}
{% macro f(x, y=2, z=x) %}[{{ x }},{{ y }},{{ z }}]{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(y=5, x=4) }}{{ f() }}{{ f(1, z=9) }} {{ f.name }} {{ f is callable }}
{% macro f(x) %}{{ x }}{% endmacro %}{{ f(1, 2) }}
{% macro f(x) %}{{ x }}{% endmacro %}{{ f(y=2) }}
{% macro f(x) %}{{ x }}{% endmacro %}{{ f(1, x=2) }}
{% macro f(x) %}{{ x }} {{ varargs }} {{ kwargs }}{% endmacro %}{{ f(1, 2, 3, k=4) }}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }} {{ f(3) | length }}
{% macro f() %}{{ later }}{% endmacro %}{{ f() }}|{% set later = 5 %}{{ f() }}
{% macro f() %}{% set a = 99 %}{{ a }}{% endmacro %}{{ f() }}{{ a }} {% for i in [1] %}{% macro g() %}{{ i }}{% endmacro %}{{ g() }}{% endfor %}
{% macro f(l) %}{% for x in l %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}{% endmacro %}{{ f(l) }} {{ f(l=[1]) ~ '!' }}
{% macro wrap(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call wrap('b') %}in {{ a }}{% endcall %}
{% macro each(l) %}{% for x in l %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(x, i) each(l) %}{{ i }}={{ x }} {% endcall %}
{% macro f() %}{{ caller() }}{% endmacro %}{{ f() }}
{% macro f() %}x{% endmacro %}{% call f() %}y{% endcall %}
{% macro f(a, b=1, c) %}{% endmacro %}
{% macro f(*args) %}{% endmacro %}
{% macro f(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ f(*[1, 2]) }} {{ f(**{'a': 3, 'b': 4}) }} {{ f(*[5], **{'b': 6}) }}
{{ f(1) }}
{{ s() }}
{{ s.nosuch() }}
{{ l.count(1) }} {{ l.index(2) }} {{ (1, 2).index(2) }} {{ l.copy() }}
{% raw %}{{ a }} {% if %}{# x #}{% endraw %} {% raw -%}  x  {%- endraw %}.
{% raw %}
{{ a }}
{% endraw %}
x
{# comment #}a{#- c -#} b {# multi
line #} c
a
{% if true %}
b
{% endif %}
c
a
  {% if true %}
  b
  {% endif %}  
c
a {%- if true -%} b {%- endif -%} c
a
  {%+ if true %}
 b
  {%- endif +%}
 c
  {{ a }}
  {{- a }}  
 {{ a -}}  
 x
{%- for x in l %}
 {{ x }}
{%- endfor %}
{% for x in l -%}
 {{ x }},
{% endfor %}
x {# c #} 
  {# c #}
y
a{% set x = 1 %}
b
{%- set x = 1 -%}

c
{{ '{{' }} {{ '%}' }} {{ "}}" }} {{ {'a': {'b': 1}}['a'] }} {{ {'a':{}}}}
{{ [1, 2][0] }}{{ (1, 2)[1] }}{{ 'abc'[1] }}{{ {'a': 1}.a }} {{ ('a', 'b')|join }} {{ 'a'.upper() }} {{ "%s"|format(1) }}
{{ strftime_now('%Y-%m-%d %H:%M:%S %d %B %b %A %a %j %y %I %p %M %e %-d %-m %-I %U %W %w %u %V %G %F %T %D %R %x %X %c %% %h %n%t %C %k %l %Z%z|%Q') }}
{{ raise_exception('no ' ~ a) }}
{% generation %}x{{ a }}{% set in_gen = 1 %}{% endgeneration %}{{ in_gen is defined }}
{% for x in l %}{% generation %}{{ x }}{{ loop.index }}{% endgeneration %}{% endfor %}
{% block x %}b{{ a }}{% endblock %} {% block y %}q{% endblock y %}
{% autoescape false %}{{ html }}{% endautoescape %}
{% print a, 'x' %}
{% if a %}
{% endif %}{% endif %}
{% for x in l %}
{% if a %}x{% endfor %}
{% unknown %}
{% include 'x' %}
{{ a
{{ }}
{{ a b }}
{{ (a }}
{{ [1, 2 }}
{{ a. }}
{{ a| }}
{{ a is }}
{% for x l %}{% endfor %}
{% if %}{% endif %}
{% break %}
{# never closed
{% raw %} never closed
{{ 'x' | upper | lower | title }} {{ [1, 2, 3] | map('string') | join('+') }}
{{ m[0].role }} {{ m[-1]['role'] }} {{ m[0].content | length > 1 }} {{ m[0]['n'] + 1 }} {{ (m | last).role }} {{ m[1:][0].content }} {{ m | map(attribute='content') | list }}
{% set joined = joiner('; ') %}{% for x in l %}{{ joined() }}{{ x }}{% endfor %}
{{ (l | sort)[0] }} {{ l | sort | first }} {{ 'a' if l | length > 2 else 'b' }} {{ (a, b) }} {{ a.b.c if false else 'x' }}
{% if a > 5 and (b < 0 or e) and not none %}yes{% elif 1 %}no{% else %}else{% endif %}
{% if e %}1{% elif none %}2{% elif l %}3{% else %}4{% endif %}
{{ {'a': 1}['b'] | default('z') }} {{ d.b | default(9) }} {{ (d.q or 5) }}
{{ 1.0 == 1 }} {{ 0.1 + 0.2 }} {{ 100.0 }} {{ 1e100 }} {{ 3.0 * 2 }} {{ 5 / 2 * 2 }} {{ 1 - 0.9 }} {{ 9007199254740993 }} {{ 0.1 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }}
{{ "a\\nb" }} {{ 'tab\there' }} {{ 'nul\0x'|length }} {{ '\u4f60\U0001F600' }}
{{ 'ǆ'|title }} {{ 'ﬁx'|upper }} {{ 'İ'|lower|length }} {{ 'straße'|upper }} {{ 'ÀÉ'|lower }} {{ 'жук'|capitalize }}
{{ a|string|length }} {{ [a, s]|string }} {{ 'a' < 'B' }} {{ 'Z' < 'a' }} {{ '한' > 'z' }}
{{ 'x'.__class__ }}|{{ d.__len__ is defined }}
{{ loop }}
{{ self }}|
{{ caller }}|{{ varargs }}|
{% set l = l + [4] %}{{ l }}{% set p = l + [5] %}{% set q = l + [6] %}{{ p }}{{ q }}{% set p2 = p + [7] %}{{ p }}{{ p2 }}
{% set x = 'a' %}{% set x = x + 'b' %}{% set y = x + 'c' %}{% set z = x + 'd' %}{{ x }}{{ y }}{{ z }}{{ y + z }}
{{ not true == false }} {{ not (true == false) }} {{ 1 + 1 == 2 and 'ok' }} {{ 'a' ~ 1 == 'a1' }} {{ 1 in [1] == true }}
{%- if true %}
  indented
    {%- if true %}

  more
    {% endif %}
{% endif -%}
  end
'''

# Cases of several lines: everything up to the next line that begins a new case is joined by hand here.
BLOCKS = [
    "a\n{% if true %}\nb\n{% endif %}\nc\n", "a\n  {% if true %}\n  b\n  {% endif %}  \nc\n\n", "a {%- if true -%} b {%- endif -%} c",
    "a\n  {%+ if true %}\n b\n  {%- endif +%}\n c", "  {{ a }}\n  {{- a }}  \n {{ a -}}  \n x", "{%- for x in l %}\n {{ x }}\n{%- endfor %}\n",
    "{% for x in l -%}\n {{ x }},\n{% endfor %}\n", "x {# c #} \n  {# c #}\ny", "a{% set x = 1 %}\nb\n{%- set x = 1 -%}\n\nc",
    "{% raw %}\n{{ a }}\n{% endraw %}\nx", "{# multi\nline #} c", "  {% raw %}  x {% endraw %}\n  y", "a\r\nb\rc\n", "\n\n", "", "\r\n",
    "{% if true %}\r\nx\r\n{% endif %}\r\n", "{{ 'a\r\nb' }}", "{{ 'a\\\nb' }}", "{{ a }}\n", "{{ a }}\n\n", "\t{% if true %}x{% endif %}\t\n y",
    "{%- if true %}\n  in\n    {%- if true %}\n\n  more\n    {% endif %}\n{% endif -%}\n  end\n", "x{% if true %}   \n  {% endif %}y",
    "{{ a }}{# c #}\n{{ b }}\n {#- c -#} \n x", "{% for x in l %}\n\n{{ x }}\n\n{% endfor %}", "\u3000{% if true %}x{% endif %}\u00a0", "{#+ c +#}\nx",
    "{{\n a\n  +\n b }}", "{% set x = [\n 1,\n 2 ] %}{{ x }}", "{{ 'real\nbreak' }}", "  {#- x #}\n  {%- set y = 1 %}\n  z",
    "{{ a }} {% raw -%}  x  {%- endraw %}.", "{%- raw -%} {{ }} {%- endraw -%} x", "{{- a -}} {{- b -}}", "{%if a%}x{%endif%}{{a}}{{'}}'}}",
    "{{ \"a\n\tb\" | indent(2) }}", "{% set x %}\n  text\n{% endset %}[{{ x }}]", "{% macro f() %}\n  m\n{% endmacro %}[{{ f() }}]",
    "{% macro f() -%}\n  m\n{%- endmacro %}[{{ f() }}]", "{{ a }}{{ b }}\n{{ s }}",
    "{% for x in l %}{% continue %}{% else %}e{% endfor %}|{% for x in l %}{% break %}{% else %}e{% endfor %}|"
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{% else %}e{% endfor %}|{% for x in l %}{% if x < 3 %}{% continue %}{% endif %}{% else %}e{% endfor %}",
    # Loops over texts, which pass over what did nothing before.
    "{% for c in 'aaaa' %}{% if loop.index == 3 %}!{% endif %}{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for c in 'abab' %}{% if ns.n == 1 and c == 'a' %}x{% endif %}{% if c == 'b' %}{% set ns.n = ns.n + 1 %}{% endif %}{% endfor %}",
    "{% set g = [1, 2, 3]|map('string') %}{% for c in 'aaaa' %}{% if g|first == '3' %}y{% endif %}{% endfor %}",
    "{% set j = joiner('-') %}{% for c in 'aaa' %}{% if j() == '-' %}z{% endif %}{% endfor %}",
    "{% for o in [1] %}{% for c in 'aab' %}{% if loop.changed(c) %}{{ c }}{% endif %}{% endfor %}{% endfor %}",
    "{% for o in [1] %}{% set ch = loop.changed %}{% for c in 'aab' %}{% if ch(1) %}{{ c }}{% elif c == 'b' %}?{% endif %}{% endfor %}{% endfor %}",
    "{% macro m(c) %}{% if c == 'b' %}B{% endif %}{% endmacro %}{% for c in 'abaab' %}{% if m(c) == 'B' %}{{ m(c) }}{% endif %}{% endfor %}",
    "{% for c in 'xyzxyz\ud55c\uad6d\ud55c' %}{% if c == 'z' %}{% continue %}{% endif %}{% if c == '\uad6d' %}{{ loop.index }}{% endif %}{% endfor %}",
    "{% for c in 'xxyxx' %}{% if c == 'y' %}{% break %}{% endif %}{% if c.isupper() %}U{% endif %}{% else %}none{% endfor %}|{% for c in 'xx' %}{% if c.type == 'text' %}{% endif %}{% else %}none{% endfor %}",
    "{{ 'abc'|selectattr('type', 'equalto', 'image')|list }}{{ 'abc'|rejectattr('type', 'equalto', 'image')|list }}{{ 'abc'|selectattr('0', 'equalto', 'b')|list }}{{ 'aXb'|selectattr('upper')|list }}{{ ''|selectattr('type')|list }}{{ 'ab'|selectattr('type', 'undefined')|list }}",
    "{% for c in 'ab' %}{% for d in 'ab' %}{% if d == c %}={% endif %}{% endfor %}{% endfor %}",
    "{% set ns = namespace(l=none) %}{% for c in 'aab' %}{% if ns.l is none %}{% set ns.l = loop %}{% elif ns.l.index == 3 %}three{% endif %}{% endfor %}",
    "{{ 'abc'|selectattr('type', 'nosuch')|list }}",
]
# What pith does otherwise: it refuses self; a slice of a constant that has none; a raw block that ends with the file.
LEFT_OUT = ["{{ self }}|", "{{ none[1:] }}", "{% raw %}"]


def c_string(s):
    out = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else "\\%03o" % b for b in s.encode())
    return '"' + out + '"'


def main():
    class Friday(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2025, 3, 14, 15, 9, 26)

    chat_template_utils.datetime = Friday
    cases = BLOCKS + [c for c in CASES.strip("\n").split("\n") if c not in LEFT_OUT]
    print("/* jinja_cases.h - written by scripts/jinja_reference.py with jinja2 %s; do not edit. */" % jinja2.__version__)
    print("static const char jinja_variables[] =\n    %s;\n" % c_string(json.dumps(VARIABLES, ensure_ascii=False)))
    print("static const struct { const char *source, *text; } jinja_cases[] = { /* text NULL: an error */")
    for case in cases:
        try:
            text = c_string(chat_template_utils._compile_jinja_template(case).render(**VARIABLES))
        except Exception:
            text = "NULL"
        if " at 0x" in text:  # an address in memory
            continue
        print("    { %s,\n      %s }," % (c_string(case), text))
    print("};")


main()
