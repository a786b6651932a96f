import collections, collections.abc, sys, threading, time

# The library was last changed before Python 3.10, which took this name away.
collections.Iterable = collections.abc.Iterable

from marathon import MarathonClient, MarathonHttpError, NotFoundError
from marathon.models import MarathonApp, MarathonHealthCheck
from marathon.models.group import MarathonGroup

client = MarathonClient(sys.argv[1], username=sys.argv[2], password=sys.argv[3], timeout=60)


def wait(what, condition):
    end = time.time() + 120
    while not condition():
        assert time.time() < end, what
        time.sleep(0.2)


def settled():
    wait("deployments to end", lambda: client.list_deployments() == [])


assert "pong" in str(client.ping())
assert client.get_info().version.startswith("1.11.")
assert client.get_leader()["leader"]
seen = []


def follow():
    for event in client.event_stream():
        seen.append(event.event_type)


threading.Thread(target=follow, daemon=True).start()
wait("the stream", lambda: "event_stream_attached" in seen)
check = MarathonHealthCheck(protocol="MESOS_HTTP", path="/", port_index=0, interval_seconds=1,
                            grace_period_seconds=30, timeout_seconds=5, max_consecutive_failures=3)
app = client.create_app("py/web", MarathonApp(
    cmd="exec python3 -u -m http.server $PORT0", cpus=0.05, mem=64, instances=1, health_checks=[check],
    labels={"from": "python"}, constraints=[["hostname", "LIKE", ".*"]]))
assert app.id == "/py/web", app.id
settled()
app = client.get_app("py/web", embed_tasks=True)
assert app.tasks_healthy == 1 and len(app.tasks) == 1, app
assert app.tasks[0].ports and app.tasks[0].host and app.tasks[0].health_check_results[0].alive
assert [a.id for a in client.list_apps(embed_tasks=True)] == ["/py/web"]
client.scale_app("py/web", instances=2)
settled()
assert len(client.list_tasks("py/web")) == 2
killed = client.kill_task("py/web", client.list_tasks("py/web")[0].id, scale=True)
settled()
assert client.get_app("py/web").instances == 1
client.update_app("py/web", MarathonApp(env={"A": "1"}))
settled()
assert client.get_app("py/web").env == {"A": "1"}
versions = client.list_versions("py/web")
assert client.get_version("py/web", versions[-1]).instances == 1
client.rollback_app("py/web", versions[-1])
settled()
client.restart_app("py/web")
settled()
client.kill_tasks("py/web")
wait("another task", lambda: client.get_app("py/web").tasks_healthy == 1)
assert len(client.list_endpoints()) >= 1
client.list_queue()
client.create_group(MarathonGroup(id="/py/group", apps=[MarathonApp(id="idle", cmd="sleep 1000", instances=0)]))
settled()
client.update_group("/py/group", MarathonGroup(apps=[MarathonApp(id="idle", cmd="sleep 1001", instances=0)]))
settled()
assert client.get_app("/py/group/idle").cmd == "sleep 1001"
client.delete_group("/py/group")
settled()
try:
    client.create_app("py/bad", MarathonApp(cmd="true", cpus=-1))
    assert False, "a bad app was taken"
except MarathonHttpError as error:
    assert error.status_code == 422, error
client.delete_app("py/web")
settled()
try:
    client.get_app("py/web")
    assert False, "a deleted app is there"
except NotFoundError:
    pass
wait("events", lambda: "deployment_success" in seen and "status_update_event" in seen)
print("done")
