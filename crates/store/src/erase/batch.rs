//! Erases some envelopes in one transaction.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection};
use wire::{PayloadKind, Verifier};

use super::Erased;
use crate::{
    database::Store,
    error::{Error, Result},
    log::{self, Position},
    projection::Entry,
    projections, rebuild, time, watermarks,
};

/// Bytes of messages that one transaction erases at most, and holds in memory; one larger message goes alone.
const BYTES: i64 = 16 << 20;

impl Store {
    /// Erases the messages at these positions, which are sorted: as many of the first as one transaction takes. Returns what
    /// it erased, and the last position that it looked at. All watermarks are held meanwhile, so no projector writes what it
    /// read before.
    pub(super) async fn erase_batch(
        &self,
        positions: &[i64],
        reason: &str,
        verifier: &Verifier,
    ) -> Result<(Erased, i64)> {
        let mut tx = self.begin().await?;
        sqlx::raw_sql("set local search_path = derived").execute(&mut *tx).await?;
        let marks = hold_all(&mut tx).await?;
        let logged = log::read_at(&mut tx, positions, BYTES).await?;
        let last = match logged.last() {
            Some(last) => last.position.0,
            // All of them have been erased meanwhile.
            None => positions.last().copied().unwrap_or_default(),
        };
        let entries: Vec<Entry> =
            logged.into_iter().map(|logged| Entry::read(logged, verifier)).collect();
        let mut erased = Erased::default();
        if entries.is_empty() {
            return Ok((erased, last));
        }
        entries.iter().for_each(|entry| erased.add(entry.kind(), entry.logged.size));
        let first = entries.first().map_or(Position(0), |entry| entry.logged.position);
        let mut entries = entries;
        for projection in projections::all() {
            // Tables that are being built may hold what goes now: they are begun again.
            if let Some((_, at)) = rebuild::lock(&mut tx, projection.name()).await?
                && at >= first
            {
                rebuild::start(&mut tx, projection.as_ref()).await?;
            }
            // Only what the projection has written can be taken back. The rest it reads as a tombstone.
            let upto = marks.get(projection.name()).map_or(Position(0), |(_, position)| *position);
            let beyond = entries.partition_point(|entry| entry.logged.position <= upto);
            let rest = entries.split_off(beyond);
            if !entries.is_empty() {
                projection.erase(&mut tx, &entries).await?;
            }
            entries.extend(rest);
        }
        bury(&mut tx, &entries, reason).await?;
        tx.commit().await?;
        Ok((erased, last))
    }
}

/// Holds the watermarks of all projections. What this program does not know it cannot take messages out of.
async fn hold_all(connection: &mut PgConnection) -> Result<BTreeMap<String, (i32, Position)>> {
    let names = sqlx::query_scalar!("select name from derived.watermarks order by name")
        .fetch_all(&mut *connection)
        .await?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let marks = watermarks::lock(connection, &names).await?;
    let known = projections::all();
    for (name, (found, _)) in &marks {
        let version = known.iter().find(|p| p.name() == name).map(|p| p.version());
        let building =
            rebuild::lock(connection, name).await?.map_or(*found, |(version, _)| version);
        if version.is_none_or(|version| *found > version || building > version) {
            return Err(Error::Refused(format!(
                "projection {name} is a newer program's: erase with that one"
            )));
        }
    }
    Ok(marks)
}

impl Erased {
    fn add(&mut self, kind: PayloadKind, size: i32) {
        self.envelopes += 1;
        self.bytes += u64::try_from(size).unwrap_or(0);
        match kind {
            PayloadKind::ContactBundle => self.contact_bundles += 1,
            PayloadKind::Invite => self.invites += 1,
            PayloadKind::MessageV1 | PayloadKind::MessageV2 => self.messages += 1,
            PayloadKind::Welcome => self.welcomes += 1,
            _ => {}
        }
    }
}

/// What a dry run counts.
pub(super) async fn count(connection: &mut PgConnection, positions: &[i64]) -> Result<Erased> {
    let rows = sqlx::query!(
        "select kind, size from derived.envelopes where position = any($1)",
        positions
    )
    .fetch_all(connection)
    .await?;
    let mut erased = Erased::default();
    for row in rows {
        let kind = PayloadKind::from_code(row.kind).unwrap_or(PayloadKind::Undecodable);
        erased.add(kind, row.size);
    }
    Ok(erased)
}

/// Puts tombstones in the place of the log's rows.
async fn bury(connection: &mut PgConnection, entries: &[Entry], reason: &str) -> Result<()> {
    let positions: Vec<i64> = entries.iter().map(|entry| entry.logged.position.0).collect();
    let among = log::among(&positions);
    // From the rows of the log themselves, so that nothing of them is lost on the way.
    let keep = format!(
        "insert into ground.tombstones
             (position, timestamp_ns, indexed_at, payload_key, sequence, space, source, topic, digest, size,
              kind, generation, sent_ns, accounts, reason)
         select g.position, g.timestamp_ns, g.indexed_at, g.payload_key, g.sequence, g.space, g.source, g.topic, g.digest,
                length(g.message), u.kind, u.generation, u.sent_ns,
                array(select decode(a, 'hex') from unnest(string_to_array(nullif(u.accounts, ''), ',')) a), $6
           from unnest($1::bigint[], $2::smallint[], $3::smallint[], $4::bigint[], $5::text[])
                as u (position, kind, generation, sent_ns, accounts)
           join (select * from ground.envelopes where {among}) g on g.position = u.position"
    );
    let (mut kinds, mut generations, mut sent, mut accounts) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        let tombstone = entry.to_tombstone();
        kinds.push(tombstone.kind.code());
        generations.push(tombstone.generation.code());
        sent.push(tombstone.sent_ns.map(time::to_db));
        let named = tombstone.accounts.iter().map(|account| hex(account.as_bytes()));
        accounts.push(named.collect::<Vec<_>>().join(","));
    }
    sqlx::query(AssertSqlSafe(keep))
        .persistent(false)
        .bind(&positions)
        .bind(&kinds)
        .bind(&generations)
        .bind(&sent)
        .bind(&accounts)
        .bind(reason)
        .execute(&mut *connection)
        .await?;
    let delete = format!("delete from ground.envelopes where {among}");
    sqlx::query(AssertSqlSafe(delete)).persistent(false).execute(&mut *connection).await?;
    sqlx::query!(
        "update ground.partitions p set erased_at = now()
          where exists (select from unnest($1::bigint[]) as u (position)
                         where u.position >= p.first and u.position < p.upto)",
        &positions
    )
    .execute(&mut *connection)
    .await?;
    // Last: appenders wait for this row.
    sqlx::query!("update ground.head set erasures = erasures + 1").execute(connection).await?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
