// graphql-sse's own client, and bare streams.

import { createClient } from 'graphql-sse';
import { ask, check, everythingIsIndexed, pages, same, total, url } from './ask.mjs';

const SUBSCRIPTION = `subscription ($after: String) { envelopes(after: $after) { cursor node { digest topic { name } } } }`;
const beginning = (await ask('{ envelopes(first: 1) { edges { cursor } } }')).data.envelopes.edges[0].cursor;
const client = createClient({ url, singleConnection: false, retryAttempts: 0 });

async function take(after, enough) {
  const taken = [];
  for await (const answer of client.iterate({ query: SUBSCRIPTION, variables: { after } })) {
    if (answer.errors) throw new Error(JSON.stringify(answer.errors));
    taken.push(answer.data.envelopes);
    if (taken.length >= enough) break;
  }
  return taken;
}

async function again() {
  const taken = [];
  let after = beginning;
  while (taken.length < total - 1) {
    taken.push(...(await take(after, Math.min(total - 1 - taken.length, 211))));
    after = taken.at(-1).cursor;
  }
  return taken;
}

const [one, other] = await Promise.all([again(), take(beginning, total - 1)]);
await everythingIsIndexed();
const wanted = await pages(beginning, null);
same('resumed again and again', one.map((edge) => edge.node.digest), wanted);
same('in one go', other.map((edge) => edge.node.digest), wanted);

const { value: query } = await client.iterate({ query: '{ status { network } }' }).next();
check('a query', query.data.status.network === 'test', query);
const { value: invalid } = await client.iterate({ query: 'subscription { nothing }' }).next();
check('what is invalid says so', invalid.errors[0].extensions.code === 'GRAPHQL_VALIDATION_FAILED', invalid);
const { value: broken } = await client.iterate({ query: 'subscription {' }).next();
check('what is no GraphQL says so', broken.errors[0].extensions.code === 'GRAPHQL_PARSE_FAILED', broken);
client.dispose();

// A browser's own EventSource: a link, and the last id when it comes again.
async function stream(headers, lines) {
  const address = new URL(url);
  address.searchParams.set('query', 'subscription { envelopes { cursor node { digest } } }');
  const stop = new AbortController();
  const response = await fetch(address, { headers: { accept: 'text/event-stream', ...headers }, signal: stop.signal });
  let text = '';
  for await (const chunk of response.body) {
    text += new TextDecoder().decode(chunk);
    if (text.split('\n').filter((line) => line.startsWith(lines)).length >= 3) break;
  }
  stop.abort();
  return { response, text };
}
const { response, text } = await stream({ 'last-event-id': beginning }, 'id: ');
check('headers', response.headers.get('content-type').startsWith('text/event-stream') && response.headers.get('x-accel-buffering') === 'no' && !response.headers.get('content-encoding'), [...response.headers]);
check('it begins with a sign of life', text.startsWith(':\n\n'), text.slice(0, 20));
const digests = [...text.matchAll(/"digest":"(0x[0-9a-f]+)"/g)].map((match) => match[1]);
same('from the last id', digests.slice(0, 3), wanted.slice(0, 3));
process.exit(0);
