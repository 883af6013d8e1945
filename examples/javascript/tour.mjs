// Five questions and a subscription that resumes: `npm install && npm start`.
// URL names another server; ENOUGH is how many invitations to follow before it ends.

import { createClient } from 'graphql-sse';

const url = process.env.URL ?? 'http://127.0.0.1:8080/graphql';
const enough = Number(process.env.ENOUGH ?? Infinity);

async function ask(query, variables) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  // Each error has a code that programs can rely on.
  if (errors) throw new Error(errors.map((error) => `${error.extensions?.code}: ${error.message}`).join('\n'));
  return data;
}

// 1. How far is the index?
const { status } = await ask('{ status { network envelopeCount head projections { name lag } } }');
console.log(`${status.network}: ${status.envelopeCount} envelopes`);

// 2. One wallet: its keys, its invitations, its conversations.
const address = '0xF0AaB66E6c64557D426d80F0067042067ac2df8B';
const { account } = await ask(
  `query ($address: Address!) {
    account(address: $address) {
      contactBundle { version verification publishedAt }
      invites(first: 3) { totalCount nodes { sender { address } recipient { address } createdAt } }
      conversations(first: 3) { nodes { topic { name } messageCount lastMessageAt } }
    }
  }`,
  { address },
);
console.log(`${address} has ${account?.invites.totalCount ?? 0} invitations`);

// 3. Who can be written to? At most 500 addresses at once.
const { reachability } = await ask(
  'query ($who: [Address!]!) { reachability(addresses: $who) { address reachable generations } }',
  { who: [address, '0x1111111111111111111111111111111111111111'] },
);
for (const { address, reachable } of reachability) console.log(`${address} ${reachable ? 'can' : 'cannot'} be written to`);

// 4. Everything in the order of indexing, each envelope once: page by page, from a cursor that can be kept.
async function* pages(filter, after = null) {
  for (;;) {
    const { envelopes } = await ask(
      `query ($filter: EnvelopeFilter, $after: String) {
        envelopes(first: 500, filter: $filter, after: $after) {
          nodes { timestamp kind topic { name } }
          pageInfo { endCursor hasNextPage }
        }
      }`,
      { filter, after },
    );
    yield envelopes.nodes;
    if (!envelopes.pageInfo.hasNextPage) return;
    after = envelopes.pageInfo.endCursor;
  }
}
let count = 0;
for await (const page of pages({ kinds: ['INVITE', 'CONTACT_BUNDLE'] })) count += page.length;
console.log(`${count} envelopes hold an invitation or a contact bundle`);

// 5. How much a day, by what envelopes hold?
const { analytics } = await ask(`{
  analytics {
    totals { envelopes topics accounts invites }
    volume(from: "2024-10-01T00:00:00Z", to: "2024-10-08T00:00:00Z", interval: DAY, by: KIND) { key points { at envelopes } }
  }
}`);
console.log(`${analytics.totals.accounts} accounts on ${analytics.totals.topics} topics`);

// And: new invitations, as they come. Whatever ends the connection, it goes on behind the last one that was seen. Keep
// the cursor, and it does so after a restart of this program, too.
const client = createClient({ url, retryAttempts: 0 });
const INVITES = `subscription ($after: String) {
  invites(after: $after) { cursor node { id createdAt sender { address } recipient { address } } }
}`;
async function* follow(after) {
  for (let pause = 100; ; pause = Math.min(pause * 2, 10_000)) {
    try {
      for await (const { data, errors } of client.iterate({ query: INVITES, variables: { after } })) {
        if (errors) throw new Error(JSON.stringify(errors));
        after = data.invites.cursor;
        pause = 100;
        yield data.invites.node;
      }
    } catch (error) {
      console.error(`again in ${pause} ms: ${error.message ?? error}`);
    }
    await new Promise((done) => setTimeout(done, pause));
  }
}
let seen = 0;
for await (const invite of follow(status.head)) {
  console.log(`${invite.createdAt} ${invite.sender.address} invites ${invite.recipient.address}`);
  if ((seen += 1) >= enough) break;
}
