// The page: GraphiQL as it comes, told where the API is and what to ask first.

import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import { createClient } from 'graphql-ws';
import { createRoot } from 'react-dom/client';
import 'graphiql/style.css';
import defaultQuery from './default.graphql';

const url = new URL('/graphql', window.location.href);
const socket = new URL(url);
socket.protocol = url.protocol.replace('http', 'ws');
const wsClient = createClient({ url: socket.href, lazy: true });
const fetcher = createGraphiQLFetcher({ url: url.href, wsClient });

createRoot(document.getElementById('page')).render(
  <GraphiQL fetcher={fetcher} defaultQuery={defaultQuery} shouldPersistHeaders={false} />,
);
