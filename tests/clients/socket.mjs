// graphql-ws' own client, and a bare socket for what that client would never do.

import { request } from 'node:http';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { ask, check, everythingIsIndexed, pages, same, total, url } from './ask.mjs';

const address = url.replace('http', 'ws');
const SUBSCRIPTION = `subscription ($after: String, $kinds: [PayloadKind!]) {
  envelopes(after: $after, filter: { kinds: $kinds }) { cursor node { digest topic { name } } } }`;

// Takes answers until there are enough, or nothing comes any more.
async function take(client, variables, enough) {
  const taken = [];
  const answers = client.iterate({ query: SUBSCRIPTION, variables });
  for await (const answer of answers) {
    if (answer.errors) throw new Error(JSON.stringify(answer.errors));
    taken.push(answer.data.envelopes);
    if (taken.length >= enough) break;
  }
  return taken;
}

const client = () => createClient({ url: address, webSocketImpl: WebSocket, retryAttempts: 0, lazy: true });

// While envelopes come in, readers come, go and come again. `after: ""` is no cursor: the beginning is told by a query.
const beginning = (await ask('{ envelopes(first: 1) { edges { cursor node { digest } } } }')).data.envelopes.edges[0];
const kinds = ['CONTACT_BUNDLE', 'INVITE'];

async function again() {
  const taken = [];
  let after = beginning.cursor;
  while (taken.length < total - 1) {
    const one = client();
    taken.push(...(await take(one, { after, kinds: null }, Math.min(total - 1 - taken.length, 137))));
    after = taken.at(-1).cursor;
    await one.dispose();
  }
  return taken;
}

async function together() {
  const one = client();
  const readers = Array.from({ length: 15 }, () => take(one, { after: beginning.cursor, kinds: null }, total - 1));
  const told = await Promise.all(readers);
  await one.dispose();
  return told;
}

async function fromTheHead() {
  const head = (await ask('{ status { head } }')).data.status.head;
  const one = client();
  const taken = await take(one, { kinds: null }, 20);
  await one.dispose();
  const before = new Set(await pages(null, null).then((all) => all.slice(0, all.indexOf(taken[0].node.digest))));
  return { head, taken, before };
}

const [single, several, live] = await Promise.all([again(), together(), fromTheHead()]);
await everythingIsIndexed();
const wanted = await pages(beginning.cursor, null);
same('resumed again and again', single.map((edge) => edge.node.digest), wanted);
several.forEach((edges, nth) => same(`reader ${nth} of one socket`, edges.map((edge) => edge.node.digest), wanted));
const first = wanted.indexOf(live.taken[0].node.digest);
same('from the head', live.taken.map((edge) => edge.node.digest), wanted.slice(first, first + 20));
const afterHead = await pages(live.head, null);
check('nothing from before the head', afterHead.includes(live.taken[0].node.digest), live.taken[0]);

const filtered = await pages(beginning.cursor, kinds);
const one = client();
const narrowed = await take(one, { after: beginning.cursor, kinds }, filtered.length);
same('filtered', narrowed.map((edge) => edge.node.digest), filtered);

// Other operations.
const invites = one.iterate({ query: `subscription ($after: String) { invites(after: $after) { cursor node { id sender { address } envelopes { digest } } } }`, variables: { after: beginning.cursor } });
const invite = (await invites.next()).value.data.invites;
check('an invite', invite.node.sender.address.startsWith('0x') && invite.node.envelopes.length > 0, invite);
await invites.return();
const bundles = one.iterate({ query: 'subscription ($after: String) { contactBundles(after: $after) { cursor node { current account { address } } } }', variables: { after: beginning.cursor } });
check('a bundle', (await bundles.next()).value.data.contactBundles.node.account.address.length === 42, 'no address');
await bundles.return();
const status = one.iterate({ query: 'subscription { status { head envelopeCount queue { depth } } }' });
check('the pulse', Number((await status.next()).value.data.status.envelopeCount) === total, 'the count');
await status.next();
await status.return();
const query = (await one.iterate({ query: '{ status { network } }' }).next()).value;
check('a query', query.data.status.network === 'test', query);

async function errors(query, variables) {
  try {
    const { value } = await one.iterate({ query, variables }).next();
    return value?.errors ?? [];
  } catch (error) {
    return error;
  }
}
for (const [code, query, variables] of [
  ['GRAPHQL_VALIDATION_FAILED', 'subscription { nothing }'],
  ['GRAPHQL_VALIDATION_FAILED', '{ nothing }'],
  ['GRAPHQL_VALIDATION_FAILED', 'subscription { status { head } invites { cursor } }'],
  ['GRAPHQL_PARSE_FAILED', 'subscription {'],
  ['BAD_CURSOR', SUBSCRIPTION, { after: 'nonsense' }],
  ['QUERY_TOO_COMPLEX', '{ topics(first: 500) { nodes { envelopes(first: 500) { nodes { id } } } } }'],
]) {
  const [error] = await errors(query, variables);
  check(`error ${code}`, error?.extensions?.code === code, error ?? 'none');
}
await one.dispose();

// Close codes.
function socket(protocols = 'graphql-transport-ws', options = {}) {
  const ws = new WebSocket(address, protocols, options);
  ws.heard = [];
  ws.on('message', (data) => ws.heard.push(JSON.parse(String(data))));
  ws.on('error', () => {});
  ws.closed = new Promise((done) => ws.on('close', (code, reason) => done({ code, reason: String(reason) })));
  ws.opened = new Promise((done, fail) => { ws.on('open', done); ws.on('error', fail); });
  return ws;
}
const INIT = '{"type":"connection_init"}';
const subscribe = (id, query = 'subscription { status { head } }') => JSON.stringify({ id, type: 'subscribe', payload: { query } });
async function closes(name, code, frames, protocols) {
  const ws = socket(protocols);
  await ws.opened;
  for (const frame of frames) {
    ws.send(frame);
    await new Promise((done) => setTimeout(done, frame === INIT ? 50 : 5));
  }
  const late = new Promise((done) => setTimeout(() => done({ code: 'none', reason: '' }), 8_000));
  const closed = await Promise.race([ws.closed, late]);
  ws.terminate();
  check(`${code} ${name}`, closed.code === code && closed.reason.length <= 123, closed);
}
await closes('no initialisation', 4408, []);
await closes('bad JSON', 4400, [INIT, '{']);
await closes('a number', 4400, [INIT, '1']);
await closes('an unknown type', 4400, [INIT, JSON.stringify({ type: 'x'.repeat(5_000) })]);
await closes('a binary frame', 4400, [INIT, Buffer.from([1, 2, 3])]);
await closes('a huge frame', 4400, [INIT, JSON.stringify({ type: 'ping', payload: { a: 'x'.repeat(70_000) } })]);
await closes('an operation without a query', 4400, [INIT, '{"id":"1","type":"subscribe"}']);
await closes('an operation before the acknowledgement', 4401, [subscribe('1')]);
await closes('a refused initialisation', 4403, ['{"type":"connection_init","payload":{"apiKey":"none of ours"}}']);
await closes('no subprotocol', 4406, [], []);
{
  // The client itself gives up when it is offered nothing it asked for, so this one looks at the bytes.
  const headers = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': 13, 'sec-websocket-key': 'x3JJHMbDL1EzLkh9GBhXDw==', 'sec-websocket-protocol': 'graphql-ws' };
  const frame = await new Promise((done, fail) => {
    const asking = request(url, { headers });
    asking.on('upgrade', (response, socket, head) => {
      let bytes = head;
      socket.on('data', (more) => { bytes = Buffer.concat([bytes, more]); });
      socket.on('close', () => done(bytes));
      socket.on('error', fail);
    });
    asking.on('error', fail);
    asking.end();
  });
  check('4406 another subprotocol', frame[0] === 0x88 && frame.readUInt16BE(2) === 4406, frame.toString('hex'));
}
await closes('the same id twice', 4409, [INIT, subscribe('1'), subscribe('1')]);
await closes('a second initialisation', 4429, [INIT, INIT]);

{
  const ws = socket();
  await ws.opened;
  ws.send(INIT);
  ws.send('{"type":"ping","payload":{"n":7}}');
  await new Promise((done) => setTimeout(done, 100));
  for (let n = 0; n < 25; n += 1) ws.send(subscribe(`s${n}`));
  await new Promise((done) => setTimeout(done, 2_500));
  const said = (type) => ws.heard.filter((message) => message.type === type);
  check('a pong for a ping', said('pong')[0]?.payload?.n === 7, ws.heard);
  const refused = said('error');
  check('twenty operations a socket', refused.length === 5 && refused[0].payload[0].extensions.limit === 20, refused);
  check('the others go on', new Set(said('next').map((message) => message.id)).size === 20, said('next').length);
  for (let n = 0; n < 20; n += 1) ws.send(JSON.stringify({ id: `s${n}`, type: 'complete' }));
  await new Promise((done) => setTimeout(done, 200));
  const before = said('next').length;
  await new Promise((done) => setTimeout(done, 1_500));
  check('completed is silent', said('next').length === before, said('next').length - before);
  ws.send(subscribe('s1', '{ status { network } }'));
  await new Promise((done) => setTimeout(done, 300));
  check('an id again', said('complete').some((message) => message.id === 's1'), ws.heard.at(-1));
  ws.close(1000);
  check('a clean end', (await ws.closed).code === 1000, await ws.closed);
}
{
  const ws = socket('graphql-transport-ws', { origin: 'https://evil.example' });
  const outcome = await ws.opened.then(() => 'open', (error) => error.message);
  check('pages of others may not connect', outcome.includes('403'), outcome);
}
process.exit(0);
