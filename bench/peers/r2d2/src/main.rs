//! r2d2, the pool underneath diesel, under the load that bench/load.h describes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

const CONNS: u32 = 8;
const HOLD_NS: i64 = 100_000;
const BUCKET_BITS: u32 = 5;
const BUCKETS: usize = (64 - BUCKET_BITS as usize + 1) << BUCKET_BITS;

static GO: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);

struct Manager;

impl r2d2::ManageConnection for Manager {
    type Connection = Box<u64>;
    type Error = std::fmt::Error;

    fn connect(&self) -> Result<Box<u64>, Self::Error> {
        Ok(Box::new(0))
    }

    fn is_valid(&self, _: &mut Box<u64>) -> Result<(), Self::Error> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Box<u64>) -> bool {
        false
    }
}

type Pool = r2d2::Pool<Manager>;

struct Counted {
    ops: u64,
    buckets: Vec<u64>,
}

fn bucket(value: u64) -> usize {
    if value < 1 << BUCKET_BITS {
        return value as usize;
    }
    let shift = 63 - value.leading_zeros() - BUCKET_BITS;
    ((shift << BUCKET_BITS) as u64 + (value >> shift)) as usize
}

fn bucket_value(bucket: usize) -> u64 {
    if bucket < 2 << BUCKET_BITS {
        return bucket as u64;
    }
    let shift = (bucket >> BUCKET_BITS) - 1;
    ((bucket - (shift << BUCKET_BITS)) as u64) << shift
}

fn sleep_hold() {
    let hold = libc::timespec {
        tv_sec: 0,
        tv_nsec: HOLD_NS,
    };
    unsafe { libc::nanosleep(&hold, std::ptr::null_mut()) };
}

fn loop_pairs(pool: &Pool) -> Counted {
    let mut ops = 0;
    while !STOP.load(Ordering::Relaxed) {
        drop(std::hint::black_box(pool.get().unwrap()));
        ops += 1;
    }
    Counted {
        ops,
        buckets: vec![0; BUCKETS],
    }
}

fn loop_asleep(pool: &Pool) -> Counted {
    let mut counted = Counted {
        ops: 0,
        buckets: vec![0; BUCKETS],
    };
    while !STOP.load(Ordering::Relaxed) {
        let began = Instant::now();
        let conn = pool.get().unwrap();
        let took = began.elapsed();
        sleep_hold();
        drop(conn);
        counted.buckets[bucket(took.as_nanos() as u64)] += 1;
        counted.ops += 1;
    }
    counted
}

fn run_thread(pool: Pool, asleep: bool) -> Counted {
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    while !GO.load(Ordering::Acquire) {
        thread::yield_now();
    }
    if asleep {
        loop_asleep(&pool)
    } else {
        loop_pairs(&pool)
    }
}

fn percentile_us(all: &[Counted], part: f64, ops: u64) -> f64 {
    let mut seen = 0;
    for b in 0..BUCKETS {
        seen += all.iter().map(|counted| counted.buckets[b]).sum::<u64>();
        if seen as f64 >= part * ops as f64 {
            return bucket_value(b) as f64 / 1e3;
        }
    }
    0.0
}

fn print(scenario: &str, all: &[Counted], wall: Duration) {
    let ops: u64 = all.iter().map(|counted| counted.ops).sum();
    let least = all.iter().map(|counted| counted.ops).min().unwrap();
    let most = all.iter().map(|counted| counted.ops).max().unwrap();
    print!(
        "{{\"peer\":\"r2d2\",\"version\":\"0.8.10\",\"scenario\":\"{}\",\"ops\":{},\
         \"ns_pair\":{:.3},\"ops_per_s\":{:.0},\"fairness\":{:.4}",
        scenario,
        ops,
        wall.as_nanos() as f64 / ops as f64,
        ops as f64 / wall.as_secs_f64(),
        least as f64 / most as f64
    );
    if scenario == "t64h" {
        let (p50, p99) = (percentile_us(all, 0.50, ops), percentile_us(all, 0.99, ops));
        print!(",\"p50_us\":{:.2},\"p99_us\":{:.2}", p50, p99);
    }
    println!("}}");
}

fn main() {
    let args: Vec<String> = env::args().collect();
    let threads = match args.get(1).map(String::as_str) {
        Some("t1") => 1,
        Some("t8") => 8,
        Some("t64h") => 64,
        _ => 0,
    };
    if threads == 0 || args.len() != 3 {
        eprintln!("usage: {} t1|t8|t64h SECONDS", args[0]);
        process::exit(2);
    }
    let seconds: f64 = args[2].parse().unwrap();
    let pool = r2d2::Pool::builder()
        .max_size(CONNS)
        .build(Manager)
        .unwrap();
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let pool = pool.clone();
            thread::spawn(move || run_thread(pool, threads == 64))
        })
        .collect();
    thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    GO.store(true, Ordering::Release);
    thread::sleep(Duration::from_secs_f64(seconds));
    STOP.store(true, Ordering::Relaxed);
    let wall = began.elapsed();
    let all: Vec<Counted> = workers
        .into_iter()
        .map(|worker| worker.join().unwrap())
        .collect();
    print(&args[1], &all, wall);
}
