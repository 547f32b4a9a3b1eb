use std::sync::Arc;

use super::*;
use crate::domain::ambient::Clock;

const PROVIDER: ProviderId = ProviderId(uuid::Uuid::nil());

struct Moved(Mutex<Timestamp>);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct Scene {
    throttle: Throttle,
    clock: Arc<Moved>,
    ambient: Ambient,
}

impl Scene {
    fn new(rate: u32) -> Self {
        let clock = Arc::new(Moved(Mutex::new(Timestamp::UNIX_EPOCH)));
        let ambient = Ambient {
            clock: clock.clone(),
            ..Ambient::system()
        };
        Self {
            throttle: Throttle::new(rate),
            clock,
            ambient,
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn pass(&self, milliseconds: i64) {
        *self.clock.0.lock().unwrap() += TimeDelta::milliseconds(milliseconds);
    }

    fn admit(&self) -> Result<Permit<'_>, Duration> {
        self.throttle.admit(PROVIDER, "sim", self.now(), false)
    }

    fn fail(&self, times: u32) {
        for _ in 0..times {
            self.admit().expect("admitted").failed(self.now(), None);
        }
    }

    fn is_open(&self) -> bool {
        self.admit().is_err()
    }

    /// How many of the broker's own refreshes get through now.
    fn paced(&self, wanted: usize) -> usize {
        let pace = || self.throttle.pace(PROVIDER, &self.ambient);
        (0..wanted).filter(|_| pace().is_ok()).count()
    }
}

#[test]
fn failures_in_a_row_open_the_breaker_and_an_answer_between_them_does_not() {
    let scene = Scene::new(100);
    scene.fail(4);
    scene.admit().expect("admitted").answered(scene.now());
    scene.fail(4);
    assert!(!scene.is_open());
    scene.fail(1);
    assert!(scene.is_open());
    assert_eq!(scene.paced(10), 0);
}

#[test]
fn an_open_breaker_lets_one_probe_through_after_ever_longer_pauses() {
    let scene = Scene::new(100);
    scene.fail(5);
    for pause in [5, 10, 20, 40, 60, 60] {
        scene.pass(pause * 1000 - 1);
        assert!(scene.is_open(), "{pause}");
        scene.pass(1);
        assert_eq!(scene.paced(10), 1, "{pause}");
        let probe = scene.admit().expect("a probe");
        assert!(scene.is_open(), "one probe at a time");
        probe.failed(scene.now(), None);
        assert!(scene.is_open());
    }
}

#[test]
fn what_the_provider_wants_is_respected() {
    let scene = Scene::new(100);
    scene.fail(4);
    let wanted = Some(Duration::from_secs(30));
    scene.admit().expect("admitted").failed(scene.now(), wanted);
    scene.pass(29_999);
    assert_eq!(scene.admit().err(), Some(Duration::from_millis(1)));
    scene.pass(1);
    assert!(!scene.is_open());
}

#[test]
fn a_probe_that_sent_nothing_leaves_the_next_one_to_probe() {
    let scene = Scene::new(100);
    scene.fail(5);
    scene.pass(5000);
    drop(scene.admit().expect("a probe"));
    scene.admit().expect("another").answered(scene.now());
    assert_eq!(scene.throttle.lines().len(), 1);
}

#[test]
fn after_an_outage_the_rate_ramps_up_for_everybody() {
    let scene = Scene::new(8);
    scene.fail(5);
    scene.pass(5000);
    scene.admit().expect("a probe").answered(scene.now());
    for rate in [1, 2, 4] {
        let mut admitted = 0;
        for _ in 0..10 {
            admitted += scene.paced(100);
            assert!(scene.admit().is_err(), "callers, too");
            scene.pass(1000);
        }
        assert!(
            (rate * 10 - 2..=rate * 10 + 2).contains(&admitted),
            "{rate}: {admitted}"
        );
    }
    assert_eq!(scene.paced(100), 8);
    // Whoever forces a refresh is not held by the bucket alone.
    assert!(!scene.is_open());
}

#[test]
fn the_bucket_bounds_what_the_broker_sends_by_itself() {
    let scene = Scene::new(10);
    assert_eq!(scene.paced(100), 10);
    for _ in 0..5 {
        scene.pass(1000);
        assert_eq!(scene.paced(100), 10);
    }
    assert!(!scene.is_open());
}

#[test]
fn what_finds_the_bucket_empty_queues_up_at_its_rate() {
    let scene = Scene::new(10);
    scene.paced(10);
    let pace = || scene.throttle.pace(PROVIDER, &scene.ambient);
    let times: Vec<i64> = (0..3)
        .map(|_| (pace().unwrap_err() - scene.now()).num_milliseconds())
        .collect();
    assert_eq!(times, [100, 200, 300]);
    let mut last = None;
    for _ in 0..1000 {
        last = pace().err();
    }
    assert_eq!(last, Some(scene.now() + HORIZON));
}
