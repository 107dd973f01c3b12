// Drives the npm package `ali-ons`: one job from the command line, one JSON object per line on
// standard output. The jobs are those of cpp_client.py, less what this client does not have
// (orderly listeners and sends, one-way).
'use strict';

const { Consumer, Message, Producer } = require('ali-ons');

function emit(event, fields) {
  process.stdout.write(JSON.stringify({ event, at_ms: Date.now(), ...fields }) + '\n');
}

const quiet = { debug() {}, info() {}, warn() {}, error(...words) { console.error(...words); } };

// The client demands one, to look name servers up by HTTP; with `nameSrv` given it has no use for it.
const httpclient = { request() { throw new Error('no HTTP here'); } };

function options(job) {
  // Keys are required by the client; a server without access control ignores the signatures.
  return {
    nameSrv: job.namesrv,
    httpclient,
    accessKeyId: job.access_key || 'ak',
    accessKeySecret: job.secret_key || 'sk',
    logger: quiet,
  };
}

const pause = ms => new Promise(resolve => setTimeout(resolve, ms));

async function produce(job) {
  const producer = new Producer({ ...options(job), producerGroup: job.group });
  producer.on('error', error => emit('problem', { error: String(error) }));
  await producer.ready();
  const send = async item => {
    const message = new Message(item.topic, item.tag || null, item.body);
    if (item.key) message.keys = [item.key];
    if (item.delay) message.delayTimeLevel = item.delay;
    Object.assign(message.properties, item.properties || {});
    const result = await producer.send(message);
    emit('sent', {
      body: item.body,
      status: result.sendStatus === 'SEND_OK' ? 0 : result.sendStatus,
      id: result.msgId,
      offset: Number(result.queueOffset),
    });
  };
  await Promise.all(job.messages.map(send));
  await producer.close();
}

async function consume(job) {
  const consumer = new Consumer({ ...options(job), consumerGroup: job.group });
  consumer.on('error', error => emit('problem', { error: String(error) }));
  const expect = new Set(job.expect);
  const seen = new Map();
  const expression = job.sql ? { expressionType: 'SQL92', subString: job.sql } : job.expression;
  consumer.subscribe(job.topic, expression || '*', async message => {
    const body = message.body.toString();
    seen.set(body, (seen.get(body) || 0) + 1);
    const failed = (job.fail_first || []).includes(body) && seen.get(body) === 1;
    emit('message', {
      body,
      tag: message.tags,
      key: message.keys,
      id: message.msgId,
      queue: message.queueId,
      offset: Number(message.queueOffset),
      reconsume: message.reconsumeTimes,
      born_ms: Number(message.bornTimestamp),
      failed,
    });
    if (failed) return Consumer.ACTION_RETRY;
    expect.delete(body);
  });
  await consumer.ready();
  emit('started', {});
  const deadline = Date.now() + job.seconds * 1000;
  while (expect.size && Date.now() < deadline) await pause(100);
  await pause((job.linger || 1) * 1000);
  await consumer.close(); // commits the offsets
  emit('done', { complete: expect.size === 0 });
}

const job = JSON.parse(process.argv[2]);
(job.do === 'produce' ? produce(job) : consume(job))
  .then(() => process.exit(0))
  .catch(error => {
    emit('error', { error: String(error && error.stack || error) });
    process.exit(1);
  });
