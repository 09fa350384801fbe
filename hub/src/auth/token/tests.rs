use super::*;
use crate::auth::keys::{Secret, SigningKey};
use base64::Engine as _;

const HOUR: Duration = Duration::from_hours(1);

fn now() -> Timestamp {
    Timestamp::from_second(1_750_000_000).unwrap()
}

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + seconds).unwrap()
}

fn key(kid: &str) -> SigningKey {
    SigningKey { kid: kid.to_owned(), created_at: now(), secret: Secret::generate().unwrap() }
}

fn keys(signing: Vec<SigningKey>) -> Keys {
    Keys { signing, sealing: Secret::generate().unwrap() }
}

fn signer() -> TokenSigner {
    TokenSigner::new(&keys(vec![key("a")]))
}

fn user_token(signer: &TokenSigner) -> String {
    signer.sign_user(&"ada".into(), &["member".into()], HOUR, now()).unwrap().token
}

fn code(result: Result<impl Sized, Refusal>) -> Code {
    result.err().unwrap().code
}

#[test]
fn a_token_names_its_user_and_its_end() {
    let signer = signer();
    let issued = signer.sign_user(&"ada".into(), &["admin".into()], HOUR, now()).unwrap();
    let claims = signer.verify_user(&issued.token, later(60)).unwrap();
    assert_eq!((claims.sub.as_str(), claims.roles.as_slice()), ("ada", ["admin".to_owned()].as_slice()));
    assert_eq!(claims.expires_at(), later(3600));
    assert_eq!(issued.expires_at, later(3600));
}

#[test]
fn a_token_ends_half_a_minute_after_its_time() {
    let signer = signer();
    let token = user_token(&signer);
    assert!(signer.verify_user(&token, later(3629)).is_ok());
    assert_eq!(code(signer.verify_user(&token, later(3631))), Code::TokenExpired);
}

#[test]
fn a_token_from_the_future_is_refused() {
    let signer = signer();
    let token = user_token(&signer);
    assert!(signer.verify_user(&token, later(-29)).is_ok());
    assert_eq!(code(signer.verify_user(&token, later(-60))), Code::Unauthorized);
}

#[test]
fn a_drone_token_and_a_user_token_do_not_pass_for_each_other() {
    let signer = signer();
    let user = user_token(&signer);
    let drone = signer.sign_drone(&"d".into(), &"s".into(), &"ada".into(), 3, HOUR, now()).unwrap().token;
    assert_eq!(code(signer.verify_user(&drone, now())), Code::Unauthorized);
    assert_eq!(code(signer.verify_drone(&user, now())), Code::Unauthorized);
    assert_eq!(
        signer.verify_drone(&drone, now()).unwrap(),
        DroneSession {
            drone: "d".into(),
            session: "s".into(),
            user: "ada".into(),
            generation: 3,
            expires_at: later(3600)
        }
    );
}

#[test]
fn tokens_of_an_older_key_are_good_until_the_key_is_gone() {
    let (old, new) = (key("old"), key("new"));
    let token = user_token(&TokenSigner::new(&keys(vec![old.clone()])));
    assert!(TokenSigner::new(&keys(vec![new.clone(), old])).verify_user(&token, now()).is_ok());
    assert_eq!(code(TokenSigner::new(&keys(vec![new])).verify_user(&token, now())), Code::Unauthorized);
}

#[test]
fn a_token_with_another_algorithm_or_none_is_refused() {
    let keys = keys(vec![key("a")]);
    let signer = TokenSigner::new(&keys);
    let claims = serde_json::json!({ "sub": "ada", "roles": [], "jti": "x", "aud": USER_AUDIENCE,
        "iat": now().as_second(), "exp": later(60).as_second(), "iatMs": now().as_millisecond() });
    let header = Header { kid: Some("a".into()), ..Header::new(Algorithm::HS512) };
    let secret = EncodingKey::from_secret(keys.signing[0].secret.bytes());
    let other = jsonwebtoken::encode(&header, &claims, &secret).unwrap();
    assert_eq!(code(signer.verify_user(&other, now())), Code::Unauthorized);

    let base64 = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let none = format!("{}.{}.", base64(r#"{"alg":"none","kid":"a"}"#), base64(&claims.to_string()));
    assert_eq!(code(signer.verify_user(&none, now())), Code::Unauthorized);
}

#[test]
fn a_changed_token_is_refused() {
    let signer = signer();
    let token = user_token(&signer);
    let (body, signature) = token.rsplit_once('.').unwrap();
    let (head, claims) = body.split_once('.').unwrap();
    for broken in [
        format!("{head}.{}.{signature}", claims.replace('A', "B")),
        format!("{head}.{claims}."),
        format!("{head}.{claims}"),
        String::new(),
        "a.b.c".to_owned(),
    ] {
        if broken != token {
            assert_eq!(code(signer.verify_user(&broken, now())), Code::Unauthorized, "{broken}");
        }
    }
}
