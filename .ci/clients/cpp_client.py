"""Drives the C++ client through the PyPI packages `rocketmq` (core 1.x) and `rocketmq-python-cvs`
(core 2.1.0): one job from the command line, one JSON object per line on standard output, then a hard
exit (the library's threads do not all stop, and the newer one crashes when it shuts down).

Jobs: {"do": "produce", "namesrv", "group", "messages": [{"topic", "body", "tag", "key", "delay",
"sharding", "how": "sync" | "async" | "oneway" | "orderly"}], "batch": true | false}
      {"do": "consume", "namesrv", "group", "topic", "expression", "orderly", "fail_first",
       "expect", "seconds"}
      {"do": "pull", "namesrv", "group", "topic", "expression"}
      {"do": "transact", "namesrv", "group", "messages": [{"topic", "body", "local": "commit" |
       "rollback" | "unknown", "check": the same}], "seconds"}
"""

import ctypes
import json
import os
import sys
import threading
import time

from rocketmq.client import Message, Producer, PullConsumer, PushConsumer
from rocketmq.ffi import _CSendResult, dll

LOCK = threading.Lock()


def emit(event, **fields):
    with LOCK:
        sys.stdout.write(json.dumps({"event": event, "at_ms": int(time.time() * 1000), **fields}) + "\n")
        sys.stdout.flush()


def text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else value


def sent(item, result):
    emit("sent", body=item["body"], status=int(result.status), id=result.msg_id, offset=result.offset)


def build(item):
    message = Message(item["topic"])
    message.set_body(item["body"])
    if item.get("tag"):
        message.set_tags(item["tag"])
    if item.get("key"):
        message.set_keys(item["key"])
    if item.get("delay"):
        message.set_delay_time_level(item["delay"])
    for name, value in item.get("properties", {}).items():
        message.set_property(name, value)
    return message


def produce(job):
    producer = Producer(job["group"])
    producer.set_namesrv_addr(job["namesrv"])
    if "access_key" in job:
        producer.set_session_credentials(job["access_key"], job["secret_key"], "")
    producer.start()
    if job.get("batch"):
        result = producer.send_batch([build(item) for item in job["messages"]])
        for item in job["messages"]:
            sent(item, result)
        return
    waiting = []
    for item in job["messages"]:
        message = build(item)
        how = item.get("how", "sync")
        if how == "sync":
            sent(item, producer.send_sync(message))
        elif how == "oneway":
            producer.send_oneway(message)
            emit("sent", body=item["body"], status=0)
        elif how == "orderly":
            sent(item, producer.send_orderly(message, item["sharding"]))
        else:
            done = threading.Event()
            waiting.append((done, message))

            def ok(result, item=item, done=done):
                sent(item, result)
                done.set()

            def failed(error, item=item, done=done):
                emit("failed", body=item["body"], error=str(error))
                done.set()

            producer.send_async(message, ok, failed)
    for done, _message in waiting:
        done.wait(10)
    time.sleep(0.2)  # one-way frames leave the process


def consume(job):
    consumer = PushConsumer(job["group"], orderly=job.get("orderly", False))
    consumer.set_namesrv_addr(job["namesrv"])
    if "access_key" in job:
        consumer.set_session_credentials(job["access_key"], job["secret_key"], "")
    consumer.set_thread_count(4)
    seen, enough = {}, threading.Event()
    expect = set(job["expect"])

    def on_message(message):
        body = text(message.body)
        with LOCK:
            seen[body] = seen.get(body, 0) + 1
            fail = body in job.get("fail_first", []) and seen[body] == 1
        emit("message", body=body, tag=text(message.tags), key=text(message.keys), id=message.id,
             queue=message.queue_id, offset=message.queue_offset, reconsume=message.reconsume_times,
             born_ms=message.born_timestamp, failed=fail)
        if fail:
            raise ValueError("the driver was told to fail this delivery")
        with LOCK:
            expect.discard(body)
            if not expect:
                enough.set()

    consumer.subscribe(job["topic"], on_message, job.get("expression", "*"))
    consumer.start()
    emit("started")
    complete = enough.wait(job["seconds"])
    time.sleep(job.get("linger", 1))
    if hasattr(consumer, "set_log_root_path"):
        # The newer package crashes when it shuts down, also by way of its destructor.
        emit("done", complete=complete)
        os._exit(0)
    consumer.shutdown()  # commits the offsets
    emit("done", complete=complete)


def pull(job):
    consumer = PullConsumer(job["group"])
    consumer.set_namesrv_addr(job["namesrv"])
    consumer.start()
    for message in consumer.pull(job["topic"], job.get("expression", "*")):
        emit("message", body=text(message.body), tag=text(message.tags), key=text(message.keys),
             id=message.id, queue=message.queue_id, offset=message.queue_offset)
    emit("done", complete=True)


STATES = {"commit": 0, "rollback": 1, "unknown": 2}


def transact(job):
    """The package has no class for this, but the library has the functions."""
    plans = {item["body"]: item for item in job["messages"]}
    unchecked = {item["body"] for item in job["messages"] if item["local"] == "unknown"}
    all_checked = threading.Event()
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)

    @callback
    def check(_producer, message, _data):
        body = text(dll.GetMessageBody(message))
        emit("checked", body=body)
        with LOCK:
            unchecked.discard(body)
            if not unchecked:
                all_checked.set()
        return STATES[plans[body]["check"]]

    dll.CreateTransactionProducer.argtypes = [ctypes.c_char_p, callback, ctypes.c_void_p]
    dll.CreateTransactionProducer.restype = ctypes.c_void_p
    dll.SendMessageTransaction.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, callback, ctypes.c_void_p, ctypes.c_void_p]
    producer = dll.CreateTransactionProducer(job["group"].encode(), check, None)
    dll.SetProducerNameServerAddress(producer, job["namesrv"].encode())
    dll.StartProducer(producer)
    for item in job["messages"]:
        @callback
        def execute(_producer, _message, _data, item=item):
            return STATES[item["local"]]

        message, result = build(item), _CSendResult()
        status = dll.SendMessageTransaction(
            producer, message._as_parameter_, execute, None, ctypes.addressof(result))
        emit("sent", body=item["body"], status=int(status) or int(result.sendStatus))
    complete = not unchecked or all_checked.wait(job["seconds"])
    time.sleep(0.5)  # the last answers leave the process
    emit("done", complete=complete)


def main():
    job = json.loads(sys.argv[1])
    try:
        {"produce": produce, "consume": consume, "pull": pull, "transact": transact}[job["do"]](job)
        code = 0
    except Exception as error:  # the line is what the caller sees of it
        emit("error", error=repr(error))
        code = 1
    sys.stdout.flush()
    os._exit(code)


main()
