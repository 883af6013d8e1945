use chrono::TimeDelta;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::*;
use crate::testing::TestDatabase;

fn new(name: &str) -> NewKey {
    NewKey { name: name.into(), scopes: vec![Scope::Read], per_minute: None, expires_at: None }
}

#[test]
fn keys_have_one_form() {
    let (id, secret) = ("a".repeat(ID), "Z".repeat(SECRET));
    let shown = Shown::read(&format!("xidx_{id}_{secret}")).unwrap();
    assert_eq!(shown.id, id);
    assert_eq!(shown.hash, SecretHash(Sha256::digest(secret.as_bytes()).into()));
    assert_ne!(shown.hash, SecretHash([0; 32]));
    let long = format!("xidx_{id}_{secret}0");
    for wrong in ["", "xidx_", "xidx__", &secret, &long, &long.replace("xidx", "sidx")] {
        assert!(Shown::read(wrong).is_none(), "{wrong}");
    }
    assert!(Shown::read(&format!("xidx_{id}_{}é", &secret[2..])).is_none());
}

#[test]
fn random_texts_use_every_digit_and_do_not_repeat() {
    let text = random(20_000).unwrap();
    for digit in DIGITS {
        let count = text.bytes().filter(|byte| byte == digit).count();
        assert!((200..450).contains(&count), "{}: {count}", char::from(*digit));
    }
    assert_ne!(random(SECRET).unwrap(), random(SECRET).unwrap());
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_key_is_created_found_used_and_revoked(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    let store = &db.store;
    let wanted = NewKey {
        scopes: vec![Scope::Read, Scope::Push],
        per_minute: NonZeroU32::new(60),
        ..new("app")
    };
    let (key, secret) = store.create_key(&wanted).await.unwrap();
    assert_eq!((key.name.as_str(), key.per_minute), ("app", NonZeroU32::new(60)));
    let shown = Shown::read(&secret).unwrap();
    let [live] = <[LiveKey; 1]>::try_from(store.live_keys().await.unwrap()).unwrap();
    assert_eq!((&live.id, live.hash), (&shown.id, shown.hash));
    assert_eq!(live.scopes, wanted.scopes);

    // The table does not hold the secret.
    let text: String = db.value("select keys::text from access.keys").await;
    assert!(!text.contains(secret.rsplit('_').next().unwrap()), "{text}");

    let taken = store.create_key(&wanted).await.unwrap_err().to_string();
    assert!(taken.contains("`app`") && taken.contains("revoke"), "{taken}");
    assert!(store.create_key(&new("a b")).await.is_err());
    assert!(store.create_key(&new("")).await.is_err());

    store.touch_keys(&[key.id.clone(), "absent".into()]).await.unwrap();
    let used = store.keys(false).await.unwrap()[0].last_used_at.unwrap();
    assert_eq!(used.timestamp() % 60, 0, "only the minute is stored");

    assert!(store.revoke_key("nobody").await.unwrap().is_none());
    let revoked = store.revoke_key("app").await.unwrap().unwrap();
    assert!(revoked.revoked_at.is_some() && revoked.id == key.id);
    assert!(store.live_keys().await.unwrap().is_empty());
    assert!(store.keys(false).await.unwrap().is_empty());
    // The name is free again, and the revoked key is still listed.
    let (next, _) = store.create_key(&wanted).await.unwrap();
    assert_eq!(store.keys(true).await.unwrap().len(), 2);
    assert_eq!(store.revoke_key(&next.id).await.unwrap().unwrap().id, next.id);
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn an_expired_key_is_not_live_and_its_name_is_free(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let gone = Some(Utc::now() - TimeDelta::seconds(5));
    let past = NewKey { expires_at: gone, ..new("app") };
    db.store.create_key(&past).await.unwrap();
    assert!(db.store.live_keys().await.unwrap().is_empty());
    db.store.create_key(&new("app")).await.unwrap();
    assert_eq!(db.store.live_keys().await.unwrap().len(), 1);
}
