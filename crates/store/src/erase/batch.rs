//! Erases some envelopes in one transaction.

use sqlx::{AssertSqlSafe, PgConnection};
use wire::{PayloadKind, Verifier};

use super::Erased;
use crate::{
    database::Store,
    error::{Error, Result},
    log::{self, Content, Position},
    projection::Entry,
    projections, rebuild, time, watermarks,
};

/// Envelopes that are written again at once, when other copies of what they hold were erased.
const AGAIN: usize = 500;

impl Store {
    /// Erases the messages at these positions, which are sorted. All watermarks are held meanwhile: no projector writes what
    /// it read before.
    pub(super) async fn erase_batch(
        &self,
        positions: &[i64],
        reason: &str,
        verifier: &Verifier,
    ) -> Result<Erased> {
        let mut tx = self.begin().await?;
        sqlx::raw_sql("set local search_path = derived").execute(&mut *tx).await?;
        let all = projections::all();
        let names: Vec<&str> = all.iter().map(|projection| projection.name()).collect();
        let marks = watermarks::lock(&mut tx, &names).await?;
        for projection in &all {
            if marks.get(projection.name()).is_some_and(|(found, _)| *found > projection.version())
            {
                return Err(Error::Refused(format!(
                    "projection {} was built by a newer program: erase with that one",
                    projection.name()
                )));
            }
            // Tables that are being built may hold what goes now: they are begun again.
            if rebuild::lock(&mut tx, projection.name()).await?.is_some() {
                rebuild::start(&mut tx, projection.as_ref()).await?;
            }
        }
        let logged = log::read_at(&mut tx, positions).await?;
        let entries: Vec<Entry> =
            logged.into_iter().map(|logged| Entry::read(logged, verifier)).collect();
        bury(&mut tx, &entries, reason).await?;
        for projection in &all {
            let again = projection.erase(&mut tx, &entries).await?;
            let mut again: Vec<i64> =
                again.into_iter().map(|Position(position)| position).collect();
            again.sort_unstable();
            again.dedup();
            for part in again.chunks(AGAIN) {
                let logged = log::read_at(&mut tx, part).await?;
                let left: Vec<Entry> =
                    logged.into_iter().map(|logged| Entry::read(logged, verifier)).collect();
                projection.project(&mut tx, &left).await?;
            }
        }
        tx.commit().await?;
        let mut erased = Erased::default();
        entries.iter().for_each(|entry| erased.add(entry.kind(), entry.logged.size));
        Ok(erased)
    }
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
    if entries.is_empty() {
        return Ok(());
    }
    let positions: Vec<i64> = entries.iter().map(|entry| entry.logged.position.0).collect();
    let among = log::among(&positions);
    // With the rows of the log themselves, so that nothing of them is lost on the way.
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
        debug_assert!(matches!(entry.logged.content, Content::Message(_)));
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
    sqlx::query!("update ground.head set erasures = erasures + 1").execute(connection).await?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
