What is said about manifests that are wrong, one case after another. Read by tests.rs.

== an empty file

>> slipway.yaml:1:1: "project" is missing; the file needs project: tenant/name and its credential: slwc_…

== no credential
project: acme/shop
>> slipway.yaml:1:1: "credential" is missing; the file needs project: tenant/name and its credential: slwc_…

== the smallest manifest
...
>> accepted

== a list is not a manifest
- project
>> slipway.yaml:1:1: "slipway.yaml" must be a map, such as project: acme/shop; found a list

== a byte order mark and Windows line ends are nobody's fault
<bom>project: acme/shop<cr>
credential: slwp_1<cr>
>> accepted

== a project is a tenant and a name
project: shop
credential: slwp_1
>> slipway.yaml:1:10: "project": project "shop" is not valid: it must look like tenant/project

== a credential with a quote in it
project: acme/shop
credential: "x'; drop"
>> slipway.yaml:2:13: "credential" is not one that Slipway made; it has only letters, digits, '_' and '-'

== a misspelt key is named, with the right one
...
services:
  web:
    instnaces: 2
>> slipway.yaml:5:5: unknown key "instnaces" in services.web; did you mean "instances"?

== an unknown key that resembles nothing
...
volumes: [/data]
>> slipway.yaml:3:1: unknown key "volumes"; known are project, credential, build, services, release, environments

== what other platforms call it
...
services: { web: { healthChecks: [] } }
>> slipway.yaml:3:20: unknown key "healthChecks" in services.web; did you mean "health"?

== case matters, and we know what you meant
...
services: { web: { stopGrace: 10s } }
>> slipway.yaml:3:20: unknown key "stopGrace" in services.web; did you mean "stop_grace"?

== the same key twice
...
project: acme/other
>> slipway.yaml:3:1: "project" is already given in line 1

== the same key by its other name
...
services: { web: { command: a, cmd: b } }
>> slipway.yaml:3:32: "command" and "cmd" are the same thing; give one

== a tab
...
services:
<tab>web: {}
>> slipway.yaml:4:1: a tab cannot indent; use spaces

== an alias
...
release: *x
>> slipway.yaml:3:10: aliases (*) are not allowed; write the value out

== an anchor
...
services: &all { web: {} }
>> slipway.yaml:3:11: anchors (&) are not allowed; write the value out where it is needed

== a merge key
...
services: { web: { <<: { instances: 1 } } }
>> slipway.yaml:3:20: merge keys (<<) are not allowed; write the values out

== a tag
...
release: !!python/object:os.system x
>> slipway.yaml:3:10: tags (tag:yaml.org,2002:!python/object:os.system) are not allowed; remove it

== a second document
...
---
project: acme/shop
>> slipway.yaml:3:1: a second document starts here; only one is allowed

== not YAML at all
...
services: [web
>> slipway.yaml:4:1: this is not valid YAML: while parsing a flow sequence, expected ',' or ']'

== a list as a key
...
[a, b]: c
>> slipway.yaml:3:1: a key must be one word, not a list or a map

== yes is not a truth
...
services: { web: { listens: yes } }
>> slipway.yaml:3:29: "listens" must be true or false, such as true; found yes

== a number in quotes is text
...
services: { web: { instances: "2" } }
>> slipway.yaml:3:31: "instances" must be a whole number, such as 2; found the text "2"

== 012 could be ten or twelve
...
services: { web: { instances: 012 } }
>> slipway.yaml:3:31: "instances" must be a whole number, such as 2; found 012

== 1e3
...
services: { web: { instances: 1e3 } }
>> slipway.yaml:3:31: "instances" must be a whole number, such as 2; found 1e3

== 0x1f
...
services: { web: { cpus: 0x1f } }
>> slipway.yaml:3:26: "cpus" must be a number with at most three decimals, such as 0.5; found 0x1f

== more instances than anybody runs
...
services: { web: { instances: 99999999999 } }
>> slipway.yaml:3:31: "instances" must be from 0 to 500; found 99999999999

== no processor at all
...
services: { web: { cpus: 0 } }
>> slipway.yaml:3:26: "cpus" must be from 0.001 to 1000; found 0

== memory without a unit
...
services: { web: { mem: 256 } }
>> slipway.yaml:3:25: "mem" needs a unit, such as 256M

== memory in the wrong unit
...
services: { web: { mem: 256K } }
>> slipway.yaml:3:25: "mem" must be from 8M to 4T; found 256K

== a duration without a unit
...
services: { web: { stop_grace: 10 } }
>> slipway.yaml:3:32: "stop_grace": duration "10" is not valid: write a number and ms, s, m, h or d, such as 5s

== a grace period of a day
...
services: { web: { stop_grace: 1d } }
>> slipway.yaml:3:32: "stop_grace" must be from 0ms to 1h; found 1d

== a command of two lines
...
release: |
  one
  two
>> slipway.yaml:4:3: "release" must be a single line; write text such as python manage.py migrate

== a command with a NUL
...
release: "a\0b"
>> slipway.yaml:3:10: "release" contains a control character; write text such as python manage.py migrate

== a command that is a list
...
services: { web: { command: [gunicorn, app] } }
>> slipway.yaml:3:29: "command" must be text, such as gunicorn app:app; found a list

== a command that is nothing
...
services: { web: { command: } }
>> slipway.yaml:3:27: "command" must be text, such as gunicorn app:app; found nothing

== a service name that is none
...
services: { Web_1: {} }
>> slipway.yaml:3:13: service name "Web_1" is not valid: it must start with a lower-case letter

== a health check that asks nothing
...
services: { web: { health: { interval: 5s } } }
>> slipway.yaml:3:28: "health" has one of http: /path, tcp: true or command: …

== a health check that asks twice
...
services: { web: { health: { tcp: true, http: / } } }
>> slipway.yaml:3:41: "health" has one of http: /path, tcp: true or command: …

== a health check of a whole URL
...
services: { web: { health: { http: "http://localhost/" } } }
>> slipway.yaml:3:36: "http" must be a path such as /healthz; found "http://localhost/"

== an operator that does not exist
...
services: { web: { constraints: [[rack, SPREAD]] } }
>> slipway.yaml:3:41: "SPREAD" is not an operator; it must be UNIQUE, CLUSTER, GROUP_BY, LIKE, UNLIKE, IS or MAX_PER

== a pattern that does not compile
...
services: { web: { constraints: [[rack, LIKE, "r("]] } }
>> slipway.yaml:3:47: "r(" is not a pattern: unclosed group

== a pattern that is one only between our brackets
...
services: { web: { constraints: [[rack, LIKE, "a)|(b"]] } }
>> slipway.yaml:3:47: "a)|(b" is not a pattern: unopened group

== a count that is none
...
services: { web: { constraints: [[rack, MAX_PER, many]] } }
>> slipway.yaml:3:50: "many" must be a whole number of at least 1

== UNIQUE of something
...
services: { web: { constraints: [[rack, UNIQUE, r1]] } }
>> slipway.yaml:3:49: UNIQUE takes no value

== LIKE what?
...
services: { web: { constraints: [[rack, LIKE]] } }
>> slipway.yaml:3:41: LIKE and UNLIKE need a pattern, such as [zone, LIKE, eu-.*]

== a constraint that is one word
...
services: { web: { constraints: [rack] } }
>> slipway.yaml:3:34: "constraints" must be a list, such as [rack, GROUP_BY] or [zone, LIKE, eu-.*]; found rack

== a capacity in percent
...
services: { web: { upgrade: { minimumHealthCapacity: 50 } } }
>> slipway.yaml:3:54: "minimumHealthCapacity" must be from 0 to 1; found 50

== a builder that does not exist
...
build: { builder: docker }
>> slipway.yaml:3:19: "builder" must be auto, python, node, static, procfile, buildpacks, dockerfile or image; found "docker"

== a root outside the repository
...
build: { root: ../other }
>> slipway.yaml:3:16: "root" must be a directory inside the repository, such as backend

== a buildpack over plain http
...
build: { buildpacks: ["http://git.example/pack.git"] }
>> slipway.yaml:3:23: a buildpack is https://host/pack.git#branch, the https URL of a .tgz, or ./path in the repository

== an image without saying so
...
build: { image: "shop:1" }
>> slipway.yaml:3:8: "image" is used with "builder: image" only

== buildpacks and another builder
...
build: { builder: python, buildpacks: [./pack] }
>> slipway.yaml:3:8: "buildpacks" are used with "builder: buildpacks" only

== an image builder without an image
...
build: { builder: image }
>> slipway.yaml:3:8: "builder: image" needs "image", such as image: shop:1.4

== a wildcard domain
...
environments: { prod: { domains: ["*.example.com"] } }
>> slipway.yaml:3:35: "*.example.com" is not a domain such as shop.example.com (no wildcard, address, port or path; international names in their xn-- form)

== an address as a domain
...
environments: { prod: { domains: [10.0.0.1] } }
>> slipway.yaml:3:35: "10.0.0.1" is not a domain such as shop.example.com (no wildcard, address, port or path; international names in their xn-- form)

== a domain with a lookalike letter
...
environments: { prod: { domains: [shоp.example.com] } }
>> slipway.yaml:3:35: "shоp.example.com" is not a domain such as shop.example.com (no wildcard, address, port or path; international names in their xn-- form)

== a domain twice
...
environments: { prod: { domains: [a.example, A.example] } }
>> slipway.yaml:3:46: a.example is listed twice
