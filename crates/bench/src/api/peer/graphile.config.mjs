// PostGraphile as it is fastest: its own defaults, lists beside connections, nothing watched.
import { makePgService } from "postgraphile/adaptors/pg";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";

export default {
  extends: [PostGraphileAmberPreset],
  schema: { defaultBehavior: "+list" },
  grafserv: { host: "127.0.0.1", port: Number(process.env.PEER_PORT), watch: false, graphiql: false },
  grafast: { explain: false },
  pgServices: [
    makePgService({
      connectionString: process.env.DATABASE_URL,
      schemas: ["derived", "peer"],
      poolConfig: { max: 8 },
    }),
  ],
};
