"""Unmodified clients against `hotfire serve`: two versions of the C++ client (PyPI `rocketmq` and
`rocketmq-python-cvs`) and the Node client (npm `ali-ons`) send in every way they have, consume, pull,
filter, retry, delay, end transactions and are set back, alone and with each other.

usage: suite.py HOTFIRE CPP_PYTHON CPP2_PYTHON NODE_MODULES

HOTFIRE is the binary, the two Pythons each have one of the packages, NODE_MODULES is the folder that
has the other. Everything happens on loopback, in a temporary folder, and every wait is bounded. The last
line says how many tests passed and failed; the exit code is 1 if any failed.
"""

import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
HOTFIRE, CPP_PYTHON, CPP2_PYTHON, NODE_MODULES = sys.argv[1:5]
SECONDS = 60  # the longest that one consumer waits for its messages


def free_ports(*gaps):
    """A port that is free, and free too at each of the gaps from it."""
    for _ in range(200):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        try:
            for gap in gaps:
                with socket.socket() as other:
                    other.bind(("127.0.0.1", port + gap))
            return port
        except OSError:
            continue
    raise RuntimeError("no free ports")


# Nothing leaves loopback; SQL filters are allowed; an undecided transaction is asked about soon.
CONFIG = """brokerIP1=127.0.0.1
enablePropertyFilter=true
transactionTimeOut=2000
transactionCheckInterval=2000
"""


def call(port, code, fields, check=True, language="JAVA"):
    """One request with a JSON header; returns the response's code."""
    header = json.dumps({"code": code, "language": language, "version": 409, "opaque": 1, "flag": 0,
                         "extFields": fields}).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(struct.pack(">II", 4 + len(header), len(header)) + header)
        with connection.makefile("rb") as answer:
            _length, head = struct.unpack(">II", answer.read(8))
            response = json.loads(answer.read(head & 0xFFFFFF))
    assert not check or response["code"] == 0, response
    return response["code"]


class Server:
    """`hotfire serve` in a folder of its own."""

    def __init__(self, home, settings=""):
        self.home = home
        self.namesrv_port = free_ports()
        self.broker_port = free_ports(-2, 1)
        self.log = open(home / "serve.log", "wb")
        self.config = home / "broker.conf"
        self.config.write_text(CONFIG + settings)
        self.start()

    @property
    def namesrv(self):
        return f"127.0.0.1:{self.namesrv_port}"

    def start(self):
        self.process = subprocess.Popen(
            [HOTFIRE, "serve", "--data", str(self.home / "data"), "--config", str(self.config),
             "--namesrv-port", str(self.namesrv_port), "--broker-port", str(self.broker_port)],
            stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        deadline = time.time() + 20
        while time.time() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"hotfire serve ended with {self.process.returncode}")
            try:
                for port in (self.namesrv_port, self.broker_port):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("hotfire serve does not listen after 20 s")

    def create_topic(self, topic):
        """As an administrator does: the Node client cannot send to a topic without a route."""
        call(self.broker_port, 17, {
            "topic": topic, "defaultTopic": "TBW102", "readQueueNums": "4", "writeQueueNums": "4",
            "perm": "6", "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"})
        deadline = time.time() + 10
        while call(self.namesrv_port, 105, {"topic": topic}, check=False) != 0:
            assert time.time() < deadline, f"no route of {topic} after 10 s"
            time.sleep(0.05)

    def reset_offset(self, topic, group, timestamp_ms):
        """As an administrator does, in the form that C++ members understand."""
        call(self.broker_port, 222, {"topic": topic, "group": group, "isForce": "true",
                                     "timestamp": str(timestamp_ms)}, language="CPP")

    def stop(self):
        """Ends it as an operator would, and returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise RuntimeError("hotfire serve does not stop on SIGTERM within 20 s")


class Client:
    """Runs the jobs of one driver."""

    def __init__(self, name, command, server):
        self.name, self.command, self.server = name, command, server

    def run(self, job, seconds=SECONDS + 30):
        job = {"namesrv": self.server.namesrv, "seconds": SECONDS, **job}
        env = {**os.environ, "HOME": str(self.server.home), "NODE_PATH": NODE_MODULES}
        try:
            done = subprocess.run([*self.command, json.dumps(job)], env=env, timeout=seconds,
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True)
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"{self.name}: no end after {seconds} s; it said {late.stdout}")
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert done.returncode == 0, (
            f"{self.name}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return events

    def produce(self, messages):
        if self.name == "node":
            for topic in {message["topic"] for message in messages}:
                self.server.create_topic(topic)
        events = self.run({"do": "produce", "group": f"PG_{self.name}", "messages": messages})
        sent = [e for e in events if e["event"] == "sent"]
        assert len(sent) == len(messages), f"{self.name}: of {len(messages)} sent {events}"
        assert all(e["status"] == 0 for e in sent), f"{self.name}: {sent}"
        return sent

    def transact(self, messages):
        events = self.run({"do": "transact", "group": f"TPG_{self.name}", "messages": messages})
        assert events[-1] == {**events[-1], "event": "done", "complete": True}, events
        return events

    def pull(self, topic, **job):
        events = self.run({"do": "pull", "topic": topic, "group": f"CG_{topic}", **job})
        return [e for e in events if e["event"] == "message"]

    def consume(self, topic, group, expect, **job):
        events = self.run({"do": "consume", "topic": topic, "group": group, "expect": expect, **job})
        got = [e for e in events if e["event"] == "message"]
        missing = sorted(set(expect) - {e["body"] for e in got})
        assert not missing, f"{self.name}: {len(missing)} of {len(expect)} missing: {missing[:5]}"
        return got


def bodies(prefix, count):
    return [f"{prefix}-{number:03}" for number in range(count)]


def plain(topic, names, **fields):
    return [{"topic": topic, "body": body, "tag": "TagA", "key": f"key-{body}", **fields}
            for body in names]


def exactly_once(got, names):
    assert sorted(e["body"] for e in got) == sorted(names), "a quiet run delivered duplicates"


def sends_and_consumes(sender, receiver):
    topic = f"Plain_{sender.name}_{receiver.name}"
    names = bodies(topic, 40)
    sender.produce(plain(topic, names))
    got = receiver.consume(topic, f"CG_{topic}", names, linger=2)
    exactly_once(got, names)
    for event in got:
        assert event["tag"] == "TagA" and event["key"] == f"key-{event['body']}", event


def asynchronous_and_oneway(client):
    topic = f"Async_{client.name}"
    names = bodies(topic, 30)
    # The first one synchronously: it creates the topic.
    messages = plain(topic, names[:1])
    messages += plain(topic, names[1:15], how="async") + plain(topic, names[15:], how="oneway")
    client.produce(messages)
    exactly_once(client.consume(topic, f"CG_{topic}", names, linger=2), names)


def orderly(client):
    topic = f"Orderly_{client.name}"
    names = [f"{order}/{step:03}" for step in range(12) for order in range(6)]
    client.produce([{"topic": topic, "body": body, "how": "orderly",
                     "sharding": int(body.split("/")[0])} for body in names])
    got = client.consume(topic, f"CG_{topic}", names, orderly=True, linger=2)
    for order in range(6):
        steps = [e["body"] for e in got if e["body"].startswith(f"{order}/")]
        assert steps == sorted(steps) and len(steps) == 12, f"order {order}: {steps}"


def retries(client):
    topic = f"Retry_{client.name}"
    names = bodies(topic, 6)
    client.produce(plain(topic, names))
    got = client.consume(topic, f"CG_{topic}", names, fail_first=names[:2], linger=2)
    for body in names[:2]:
        first, second = [e for e in got if e["body"] == body]
        assert second["reconsume"] == 1, second
        waited = second["at_ms"] - first["at_ms"]
        assert waited >= 9_900, f"redelivered after {waited} ms, delay level 3 is 10 s"
    assert len(got) == 8, got


def delays(client):
    topic = f"Delay_{client.name}"
    names = bodies(topic, 3)
    client.produce(plain(topic, names, delay=2))
    got = client.consume(topic, f"CG_{topic}", names, linger=2)
    exactly_once(got, names)
    for event in got:
        waited = event["at_ms"] - event["born_ms"]
        assert 5_000 <= waited < 30_000, f"delivered after {waited} ms, delay level 2 is 5 s"


def tags(client):
    topic = f"Tags_{client.name}"
    names = bodies(topic, 12)
    messages = [{"topic": topic, "body": body, "tag": "TagABC"[:3] + "ABC"[at % 3]}
                for at, body in enumerate(names)]
    client.produce(messages)
    wanted = [m["body"] for m in messages if m["tag"] in ("TagA", "TagC")]
    got = client.consume(topic, f"CG_{topic}", wanted, expression="TagA || TagC", linger=2)
    exactly_once(got, wanted)


def resumes_where_it_stopped(client):
    topic = f"Resume_{client.name}"
    first, second = bodies(topic + "_1", 10), bodies(topic + "_2", 10)
    client.produce(plain(topic, first))
    exactly_once(client.consume(topic, f"CG_{topic}", first, linger=2), first)
    client.produce(plain(topic, second))
    exactly_once(client.consume(topic, f"CG_{topic}", second, linger=2), second)


def batches(client):
    """Core 2.1.0 and before mark a batch by `1`, and brokers look for `true`: each batch is stored
    as one message, whose body is the batch as it was sent."""
    topic = f"Batch_{client.name}"
    client.produce(plain(topic, ["first"]))  # creates the topic
    names = bodies("element", 5)
    events = client.run({"do": "produce", "group": f"PG_{client.name}", "batch": True,
                         "messages": plain(topic, names)})
    assert all(e["status"] == 0 for e in events if e["event"] == "sent"), events
    got = [e["body"] for e in client.pull(topic)]
    assert len(got) == 2 and "first" in got, got


def pulls(client):
    topic = f"Pull_{client.name}"
    names = bodies(topic, 50)
    client.produce(plain(topic, names))
    got = client.pull(topic)
    exactly_once(got, names)
    for queue in {e["queue"] for e in got}:
        offsets = [e["offset"] for e in got if e["queue"] == queue]
        assert offsets == list(range(len(offsets))), offsets
    exactly_once(client.pull(topic), names)  # nothing was committed


def transactions(client, receiver):
    topic = f"Transactions_{client.name}"
    plans = [("commit", "commit"), ("rollback", "commit"), ("unknown", "commit"),
             ("unknown", "rollback")]
    messages = [{"topic": topic, "body": f"{local}-{check}-{number}", "local": local, "check": check}
                for number in range(3) for local, check in plans]
    client.produce(plain(topic, ["ordinary"]))  # creates the topic
    events = client.transact(messages)
    checked = {e["body"] for e in events if e["event"] == "checked"}
    assert checked == {m["body"] for m in messages if m["local"] == "unknown"}, checked
    visible = [m["body"] for m in messages
               if "commit" == (m["check"] if m["local"] == "unknown" else m["local"])]
    got = receiver.consume(topic, f"CG_{topic}", visible + ["ordinary"], linger=6)
    exactly_once(got, visible + ["ordinary"])


def sql(client):
    topic = f"Sql_{client.name}"
    names = bodies(topic, 12)
    client.produce([{"topic": topic, "body": body, "properties":
                     {"price": str(at)} if at % 3 else {"colour": "red"}}
                    for at, body in enumerate(names)])
    wanted = [names[at] for at in (7, 8, 10, 0, 3, 6, 9)]
    got = client.consume(topic, f"CG_{topic}", wanted, linger=2,
                         sql="price BETWEEN 7 AND 10 OR colour = 'red'")
    exactly_once(got, wanted)


def is_set_back(server, client):
    """The offsets of a group are reset while a member is connected: all comes again."""
    topic = f"Reset_{client.name}"
    names = bodies(topic, 10)
    client.produce(plain(topic, names))
    group, began = f"CG_{topic}", time.time()
    reset = threading.Timer(6, server.reset_offset, (topic, group, int((began - 3600) * 1000)))
    reset.start()
    got = client.consume(topic, group, names, linger=35)
    reset.join()
    times = sorted(e["body"] for e in got)
    assert times == sorted(names * 2), f"of 10 messages twice {len(times)} came: {times}"


def outlives_a_restart(server, client):
    topic = f"Restart_{client.name}"
    names = bodies(topic, 10)
    client.produce(plain(topic, names))
    code = server.stop()
    assert code == 0, f"hotfire serve ended with {code} on SIGTERM"
    server.start()
    exactly_once(client.consume(topic, f"CG_{topic}", names, linger=2), names)


ACCOUNTS = """\
accounts:
  - accessKey: shop-key
    secretKey: shop-secret
    defaultTopicPerm: PUB|SUB
    groupPerms: [CG_guarded=SUB]
"""


def access_control(home):
    (home / "data" / "conf").mkdir(parents=True)
    (home / "data" / "conf" / "plain_acl.yml").write_text(ACCOUNTS)
    server = Server(home, "aclEnable=true\n")
    own = {"access_key": "shop-key", "secret_key": "shop-secret"}
    try:
        # C++ first: it creates the topic, which Node cannot.
        for client in clients(server):
            name = client.name
            message = {"topic": "guarded", "body": f"{name} may"}
            job = {"do": "produce", "group": f"PG_{name}", "messages": [message]}
            assert [event["event"] for event in client.run({**job, **own})] == ["sent"]
            for wrong in ({**own, "secret_key": "guessed-secret"},
                          {**own, "access_key": "stranger-key"}):
                try:
                    client.run({**job, **wrong, "messages": [{**message, "body": f"{name} may not"}]})
                except AssertionError:
                    continue
                raise AssertionError(f"{name} was let in with {wrong}")
        cpp, *_ = members = clients(server)
        allowed = [f"{client.name} may" for client in members]
        exactly_once(cpp.consume("guarded", "CG_guarded", allowed, linger=1, **own), allowed)
    finally:
        server.stop()


def clients(server):
    return (Client("cpp", [CPP_PYTHON, str(HERE / "cpp_client.py")], server),
            Client("cpp2", [CPP2_PYTHON, str(HERE / "cpp_client.py")], server),
            Client("node", ["node", str(HERE / "node_client.js")], server))


def main():
    with tempfile.TemporaryDirectory(prefix="hotfire-clients-") as folder:
        server = Server(pathlib.Path(folder))
        cpp, cpp2, node = clients(server)
        side_by_side = [
            ("C++ sends and consumes", sends_and_consumes, (cpp, cpp)),
            ("Node sends and consumes", sends_and_consumes, (node, node)),
            ("Node reads what C++ wrote", sends_and_consumes, (cpp, node)),
            ("C++ reads what Node wrote", sends_and_consumes, (node, cpp)),
            ("C++ sends asynchronously and one-way", asynchronous_and_oneway, (cpp,)),
            ("C++ consumes in order", orderly, (cpp,)),
            ("C++ retries", retries, (cpp,)),
            ("Node retries", retries, (node,)),
            ("C++ delays", delays, (cpp,)),
            ("Node delays", delays, (node,)),
            ("C++ filters by tag", tags, (cpp,)),
            ("Node filters by tag", tags, (node,)),
            ("C++ is set back while it is connected", is_set_back, (server, cpp)),
            ("C++ 2.1 sends and consumes", sends_and_consumes, (cpp2, cpp2)),
            ("C++ 2.1 sends asynchronously and one-way", asynchronous_and_oneway, (cpp2,)),
            ("C++ 2.1 sends batches", batches, (cpp2,)),
            ("C++ 2.1 pulls", pulls, (cpp2,)),
            ("C++ 2.1 ends transactions", transactions, (cpp2, cpp)),
            ("Node filters by SQL", sql, (node,)),
            ("C++ resumes where it stopped", resumes_where_it_stopped, (cpp,)),
            ("Node resumes where it stopped", resumes_where_it_stopped, (node,)),
        ]
        alone = [
            ("messages outlive a restart of the server", outlives_a_restart, (server, cpp)),
            ("access control lets in whom it should", access_control,
             (pathlib.Path(folder) / "guarded",)),
        ]
        failed, said = 0, threading.Lock()

        def attempt(test):
            nonlocal failed
            name, body, arguments = test
            began = time.time()
            try:
                body(*arguments)
                verdict, detail = "ok", ""
            except Exception:
                verdict, detail = "FAILED", "\n" + traceback.format_exc()
            with said:
                failed += verdict == "FAILED"
                print(f"test {name} ... {verdict} ({time.time() - began:.1f} s){detail}", flush=True)

        try:
            with ThreadPoolExecutor(5) as pool:
                list(pool.map(attempt, side_by_side))
            for test in alone:
                attempt(test)
            attempt(("the server stops cleanly", lambda: check_stop(server), ()))
        finally:
            if server.process.poll() is None:
                server.process.kill()
        total = len(side_by_side) + len(alone) + 1
        if failed:
            print((server.home / "serve.log").read_text(errors="replace")[-6000:])
        print(f"{total - failed} passed, {failed} failed")
        return 1 if failed else 0


def check_stop(server):
    code = server.stop()
    assert code == 0, f"exit code {code}"


sys.exit(main())
