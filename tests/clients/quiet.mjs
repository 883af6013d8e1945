// A stream on which nothing happens for a while: what keeps it alive is on the wire, and the client hears only answers.

import { createClient } from 'graphql-sse';
import { check, total, url } from './ask.mjs';

let beats = 0;
let streams = 0;
// The client reads one of two copies of what comes.
async function fetchFn(...request) {
  const response = await fetch(...request);
  const [told, counted] = response.body.tee();
  streams += 1;
  (async () => {
    const words = new TextDecoder();
    let line = '';
    for await (const bytes of counted) {
      const lines = (line + words.decode(bytes, { stream: true })).split('\n');
      line = lines.pop();
      beats += lines.filter((whole) => whole.startsWith(':')).length;
    }
  })().catch(() => {});
  return new Response(told, { status: response.status, headers: response.headers });
}
const client = createClient({ url, singleConnection: false, retryAttempts: 0, fetchFn });
const answers = client.iterate({ query: 'subscription { envelopes { node { topic { name } } } }' });
const names = [];
let heard = 0;
for await (const { data, errors } of answers) {
  if (errors) throw new Error(JSON.stringify(errors));
  names.push(data.envelopes.node.topic.name);
  if (names.length > 1) check(`heartbeats before answer ${names.length}`, beats - heard >= 2, `${beats - heard}`);
  heard = beats;
  if (names.length > total) break;
}
const nths = names.map((name) => Number(name.match(/\d+/)[0]));
check('one answer after the other', nths.every((n, nth) => n === nths[0] + nth), names);
check('over one stream', streams === 1, `${streams}`);
process.exit(0);
