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
>> slipway.yaml:3:28: "health" has one of http: /path, https: /path, tcp: true or command: …

== a health check that asks twice
...
services: { web: { health: { tcp: true, http: / } } }
>> slipway.yaml:3:41: "health" has one of http: /path, https: /path, tcp: true or command: …

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

== a schedule of four fields
...
services: { report: { schedule: "0 3 * *" } }
>> slipway.yaml:3:33: "schedule": schedule "0 3 * *" is not valid: it has five fields: minute, hour, day of month, month, day of week, such as 0 3 * * *

== a schedule in words
...
services: { report: { schedule: "every night * * *" } }
>> slipway.yaml:3:33: "schedule": schedule "every night * * *" is not valid: a minute is 0 to 59, such as */15

== a day that never comes
...
services: { report: { schedule: "0 0 31 4 *" } }
>> slipway.yaml:3:33: "schedule": schedule "0 0 31 4 *" is not valid: that day never comes

== a schedule without quotes
...
services:
  report:
    schedule: */5 * * * *
>> slipway.yaml:5:15: a schedule that begins with * needs quotes: "*/5 * * * *"

== a schedule and copies
...
services: { report: { schedule: "@daily", instances: 2 } }
>> slipway.yaml:3:13: a service with a "schedule" runs once at each time and ends; it cannot have "instances"

== overlap of what
...
services: { web: { overlap: CANCEL_NEW } }
>> slipway.yaml:3:20: "overlap" goes with a "schedule"

== overlap in other words
...
services: { report: { schedule: "@daily", overlap: skip } }
>> slipway.yaml:3:52: "overlap" must be CANCEL_NEW or KILL_EXISTING; found "skip"

== unreachable for ever
...
services: { web: { unreachable: never } }
>> slipway.yaml:3:33: "unreachable" must be a map, such as { inactive: 20s, expunge: 5m } or disabled; found never

== unreachable, half of it
...
services: { web: { unreachable: { inactive: 20s } } }
>> slipway.yaml:3:33: "unreachable" is { inactive: 20s, expunge: 5m } or disabled

== given up before it is replaced
...
services: { web: { unreachable: { inactive: 5m, expunge: 20s } } }
>> slipway.yaml:3:33: "expunge" after 20s comes before "inactive" after 5m

== silence in seconds
...
services: { web: { unreachable: { inactive: 20, expunge: 300 } } }
>> slipway.yaml:3:45: "inactive": duration "20" is not valid: write a number and ms, s, m, h or d, such as 5s

== Marathon's long words
...
services: { web: { unreachable: { inactiveAfterSeconds: 20 } } }
>> slipway.yaml:3:35: unknown key "inactiveAfterSeconds" in unreachable; did you mean "inactive"?

== which copies go first
...
services: { web: { kill_selection: random } }
>> slipway.yaml:3:36: "kill_selection" must be YOUNGEST_FIRST or OLDEST_FIRST; found "random"

== a factor that shrinks
...
services: { web: { backoff: { factor: 0.5 } } }
>> slipway.yaml:3:39: "factor" must be from 1 to 10; found 0.5

== a wait that ends before it begins
...
services: { web: { backoff: { initial: 1m, max: 10s } } }
>> slipway.yaml:3:29: "max" of 10s is shorter than "initial" of 1m

== readiness without a path
...
services: { web: { readiness: { interval: 5s } } }
>> slipway.yaml:3:31: "readiness" needs the path it asks, such as http: /ready

== an answer that may take longer than the next question
...
services: { web: { readiness: { http: /ready, interval: 1s, timeout: 1s } } }
>> slipway.yaml:3:31: "timeout" of 1s must be shorter than "interval" of 1s

== readiness at a port that is not there
...
services: { web: { ports: [{ name: admin, containerPort: 9000 }], readiness: { http: /ready, port: metrics } } }
>> slipway.yaml:3:13: "readiness" asks port "metrics", which "ports" does not name

== a volume without a size
...
services: { db: { volumes: [{ path: /data }] } }
>> slipway.yaml:3:29: a volume needs both, such as { path: /data, size: 10G }

== a volume of a path alone
...
services: { db: { volumes: [/data] } }
>> slipway.yaml:3:29: "volumes" must be a map, such as { path: /data, size: 10G }; found /data

== a volume that climbs out
...
services: { db: { volumes: [{ path: ../data, size: 1G }] } }
>> slipway.yaml:3:37: "../data" must be an absolute path such as /data, or one name below the program's directory

== a volume of two segments that is relative
...
services: { db: { volumes: [{ path: a/b, size: 1G }] } }
>> slipway.yaml:3:37: "a/b" must be an absolute path such as /data, or one name below the program's directory

== a volume over the kernel
...
services: { db: { volumes: [{ path: /proc/1, size: 1G }] } }
>> slipway.yaml:3:37: nothing can be put at /proc/1; write another path, such as /data

== a volume inside another
...
services: { db: { volumes: [{ path: /data, size: 1G }, { path: /data/log, size: 1G }] } }
>> slipway.yaml:3:56: /data/log and /data are inside one another

== a volume of no size that a number could be
...
services: { db: { volumes: [{ path: /data, size: 1000000 }] } }
>> slipway.yaml:3:50: "size" needs a unit, such as 10G

== volumes and copies in addition
...
services: { db: { volumes: [{ path: /data, size: 1G }], upgrade: { maximumOverCapacity: 1 } } }
>> slipway.yaml:3:13: a service with "volumes" has no copies in addition; leave "maximumOverCapacity" out or 0

== a port that is none
...
services: { web: { ports: [70000] } }
>> slipway.yaml:3:28: "ports" must be from 1 to 65535; found 70000

== a port by its wrong name
...
services: { web: { ports: [{ port: 9000 }] } }
>> slipway.yaml:3:30: unknown key "port" in ports; known are name, containerPort, hostPort, protocol, labels

== two ports of one name
...
services: { web: { ports: [{ name: a, containerPort: 1 }, { name: a, containerPort: 2 }] } }
>> slipway.yaml:3:59: port "a" is named twice

== one port of the node twice
...
services: { web: { ports: [{ containerPort: 1, hostPort: 31000 }, { containerPort: 2, hostPort: 31000 }] } }
>> slipway.yaml:3:67: "hostPort" 31000 is asked for twice

== a port's name is half of a variable's
...
services: { web: { ports: [{ name: "Admin Port", containerPort: 1 }] } }
>> slipway.yaml:3:36: a port's name has lower-case letters, digits and '-', and begins with a letter

== a protocol of its own
...
services: { web: { ports: [{ containerPort: 1, protocol: sctp }] } }
>> slipway.yaml:3:58: "protocol" must be tcp, udp or "udp,tcp"; found "sctp"

== half an accelerator
...
services: { web: { gpus: 0.5 } }
>> slipway.yaml:3:26: "gpus" must be a whole number, such as 1; found 0.5

== a variable that the platform sets
...
services: { web: { env: { PORT: 80 } } }
>> slipway.yaml:3:27: PORT is set by the platform itself

== a variable that no shell could read
...
services: { web: { env: { "my var": 1 } } }
>> slipway.yaml:3:27: config key "my var" is not valid: only letters, digits and '_' are allowed, and no digit first

== a variable that is a list
...
services: { web: { env: { A: [1] } } }
>> slipway.yaml:3:30: "A" must be text, such as some text; found a list

== a tier that does not exist
...
services: { web: { tier: gold } }
>> slipway.yaml:3:26: "tier" must be preferred, normal or preemptible; found "gold"

== no canary at all
...
services: { web: { rollout: { canary: 0 } } }
>> slipway.yaml:3:39: "canary" must be from 1 to 500; found 0

== rollout in other words
...
services: { web: { rollout: { batch_size: 2 } } }
>> slipway.yaml:3:31: unknown key "batch_size" in rollout; did you mean "batch"?

== a file over ftp
...
services: { web: { fetch: ["ftp://example.com/x"] } }
>> slipway.yaml:3:28: "ftp://example.com/x" is not an http:// or https:// address

== a file that would go anywhere
...
services: { web: { fetch: [{ uri: "https://example.com/x", destPath: ../x }] } }
>> slipway.yaml:3:70: "destPath" must be a path below the program's directory; found "../x"

== a file from nowhere
...
services: { web: { fetch: [{ cache: true }] } }
>> slipway.yaml:3:28: "fetch" needs a uri, such as https://example.com/model.tgz
