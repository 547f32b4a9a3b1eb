//! The cookie that ties a consent to the browser that opened its page.

use dromos_simulator::browser::Browser;
use reqwest::StatusCode;

use crate::{
    callback::{assert_refused, cookie_of, deliver, outcome},
    world::{Db, World, both, on_both},
};
use serde_json::json;

both!(
    hardening_28_only_the_browser_that_opened_the_page_may_finish,
    |world: World| async move {
        let begun = world.request_connection("attacker").await;
        let mut own = Browser::new();
        let answer = world.approved(&mut own, &begun).await;

        // A victim who is sent the callback has no cookie at all …
        assert_refused(&deliver(&mut Browser::new(), &answer).await);
        // … or that of a consent of its own …
        let mut victim = Browser::new();
        let other = world.request_connection("victim").await;
        world.open(&mut victim, &other).await;
        assert_refused(&deliver(&mut victim, &answer).await);
        // … and under this one's name another value does not do.
        let name = cookie_of(&world, &begun).await;
        let name = name.split('=').next().expect("a name");
        let foreign = cookie_of(&world, &other).await;
        let foreign = foreign.split_once('=').expect("a pair").1;
        for value in [foreign, "", "x"] {
            let page = world
                .http
                .get(answer.as_str())
                .header("cookie", format!("{name}={value}"))
                .send()
                .await
                .expect("a page");
            assert_eq!(page.status(), StatusCode::BAD_REQUEST, "{value}");
            assert!(page.headers().get("location").is_none());
        }
        // The state is not spent by any of that.
        assert_eq!(outcome(&deliver(&mut own, &answer).await), None);
    }
);

both!(
    hardening_28_two_consents_in_one_browser_both_complete,
    |world: World| async move {
        let (first, second) = (
            world.request_connection("user-1").await,
            world.request_connection("user-1").await,
        );
        let mut browser = Browser::new();
        let one = world.approved(&mut browser, &first).await;
        let two = world.approved(&mut browser, &second).await;
        for (answer, begun) in [(two, second), (one, first)] {
            let page = deliver(&mut browser, &answer).await;
            assert_eq!(outcome(&page), None);
            // The cookie has served its purpose.
            let cookie = page.header("set-cookie").expect("one");
            assert!(
                cookie.contains("=; ") && cookie.contains("Max-Age=0"),
                "{cookie}"
            );
            let id = begun["connection_id"].as_str().expect("an id");
            assert_eq!(world.check(id).await["status"], "ACTIVE");
        }
    }
);

on_both!(
    hardening_28_the_cookie_is_out_of_reach_of_scripts_and_other_hosts,
    |db: Db| async move {
        let world = World::start(db).await;
        let begun = world.request_connection("user-1").await;
        let page = world.open(&mut Browser::new(), &begun).await;
        let cookie = page.header("set-cookie").expect("a cookie").to_owned();
        assert!(cookie.starts_with("dromos-"), "{cookie}");
        for part in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Max-Age=600"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(page.header(name), Some(value));
        }

        let settings = [("BASE_URL", "https://auth.example.com")];
        let world = World::start_empty(db, &settings).await;
        world.create_provider("sim", json!({})).await;
        let begun = world.request_connection("user-1").await;
        let auth_url = begun["auth_url"].as_str().expect("an auth_url");
        let path = auth_url
            .strip_prefix("https://auth.example.com")
            .expect("under BASE_URL");
        let page = world
            .http
            .get(format!("{}{path}", world.public_url))
            .send()
            .await
            .expect("a page");
        let cookie = page.headers()["set-cookie"].to_str().expect("text");
        assert!(cookie.starts_with("__Host-dromos-"), "{cookie}");
        assert!(
            cookie.contains("; Secure") && cookie.contains("; Path=/;"),
            "{cookie}"
        );
    }
);
