// Servers stop and come again, sockets grow old: the clients connect again by themselves, and go on behind their cursors.

import { createClient as overSockets } from 'graphql-ws';
import { createClient as overEvents } from 'graphql-sse';
import WebSocket from 'ws';
import { ask, check, everythingIsIndexed, pages, same, total, url } from './ask.mjs';

const SUBSCRIPTION = 'subscription ($after: String) { envelopes(after: $after) { cursor node { digest } } }';
const beginning = (await ask('{ envelopes(first: 1) { edges { cursor } } }')).data.envelopes.edges[0].cursor;
const pause = (time) => new Promise((done) => setTimeout(done, time));
const soon = () => pause(50);
const closed = [];
let sockets = 0;
let streams = 0;
const ways = {
  sockets: overSockets({
    url: url.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    retryAttempts: 400,
    retryWait: soon,
    // By itself the client gives up where nobody listens, which is what a server that is being replaced looks like.
    shouldRetry: () => true,
    on: { closed: ({ code, reason }) => closed.push(`${code} ${reason}`), connected: () => { sockets += 1; } },
  }),
  events: overEvents({ url, singleConnection: false, retryAttempts: 400, retry: soon, on: { connected: () => { streams += 1; } } }),
};

// Both clients write the variables anew whenever they connect, so it is enough to move the cursor in them.
function follow(client) {
  const told = [];
  const variables = { after: beginning };
  const failed = new Promise((_, fail) => {
    client.subscribe({ query: SUBSCRIPTION, variables }, {
      next: ({ data, errors }) => {
        if (errors) return fail(new Error(JSON.stringify(errors)));
        told.push(data.envelopes.node.digest);
        variables.after = data.envelopes.cursor;
      },
      error: (error) => fail(error instanceof Error ? error : new Error(`${error?.code} ${error?.reason}`)),
      complete: () => fail(new Error('it completed')),
    });
  });
  return { told, failed };
}
const readers = [follow(ways.sockets), follow(ways.sockets), follow(ways.events)];
const ends = (why) => closed.filter((end) => end.startsWith('1012') && end.includes(why)).length;

const told = () => `${readers.map(({ told }) => told.length)} of ${total - 1} told; ${[...new Set(closed)]}`;

async function everythingIsTold() {
  for (let tries = 0; tries < 1_200; tries += 1) {
    if (readers.every(({ told }) => told.length >= total - 1)) return;
    await pause(100);
  }
  throw new Error(told());
}
await Promise.race([everythingIsTold(), ...readers.map(({ failed }) => failed)]);
// What is told twice comes when a client has connected once more.
const before = ends('this socket is old');
for (let tries = 0; ends('this socket is old') === before && tries < 300; tries += 1) await pause(100);
await pause(500);
await everythingIsIndexed();
const wanted = await pages(beginning, null);
readers.forEach(({ told }, nth) => same(`reader ${nth}`, told, wanted));
console.log(`${sockets} sockets, ${streams} streams; ${told()}`);
check('connected again and again', sockets >= 4 && streams >= 3, [sockets, streams]);
for (const why of ['the server stops', 'this socket is old']) check(`1012 ${why}`, ends(why) > 0, told());
// 1006 is what a client makes of an address at which nobody listens.
check('told why', closed.every((end) => end.startsWith('1012') || end.startsWith('1006')), told());
process.exit(0);
