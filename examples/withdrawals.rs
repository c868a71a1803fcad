//! Reports users who withdraw more than 1 000 within five minutes.
use faust::prelude::*;

const LIMIT: i64 = 1_000;

#[record(key = user, timestamp = at)]
struct Withdrawal {
    user: String,
    #[field(range = 1..)]
    amount: i64,
    at: i64,
}

/// Sums withdrawals in windows of five minutes that start every minute. The oldest open window covers the last five
/// minutes.
#[agent(topic = "withdrawals")]
async fn watch(
    withdrawals: Stream<Withdrawal>,
    #[table(window = hopping("5m", "1m"))] sums: WindowedTable<String, i64>,
) {
    let mut withdrawals = withdrawals.group_by("user", |withdrawal| withdrawal.user.clone());
    while let Some(withdrawal) = withdrawals.next().await {
        sums.update(&withdrawal.user, |sum| *sum += withdrawal.amount);
        let sum = sums.get(&withdrawal.user).earliest();
        if sum > LIMIT {
            println!("{} has withdrawn {sum} within five minutes", withdrawal.user);
        }
    }
}

fn main() -> std::process::ExitCode {
    App::new("withdrawals").main()
}
