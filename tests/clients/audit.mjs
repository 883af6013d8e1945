// Every audit of graphql-http must be ok: not one notice, warning or error.

import { auditServer } from 'graphql-http';
import { url } from './ask.mjs';

const results = await auditServer({ url, fetchFn: fetch });
const failed = results.filter((result) => result.status !== 'ok');
for (const result of failed) console.error(result.status, result.id, result.name, '|', result.reason);
console.log(`${results.length - failed.length} of ${results.length} audits ok`);
process.exit(failed.length === 0 && results.length >= 61 ? 0 : 1);
