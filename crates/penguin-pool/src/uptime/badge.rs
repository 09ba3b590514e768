//! A badge: a service's state and uptime as a small picture, readable by people and by screen readers.

use models::{CurrentStatus, ServiceUptimeSummary};

/// About what a character of 11 pixels takes, in pixels.
const CHARACTER: usize = 7;

/// The badge. Its colours keep a contrast of at least 4.5 to 1, and its title says in words what it shows.
pub(super) fn svg(summary: &ServiceUptimeSummary, period: &str) -> String {
    let name = escape(&summary.service_name);
    let status = summary.current_status.as_str();
    let watched = summary.coverage > 0.0;
    let value = if watched { format!("{status} {}%", summary.uptime_percentage) } else { status.to_owned() };
    let spoken = if watched {
        format!("{name}: {status}, {}% uptime over {period}", summary.uptime_percentage)
    } else {
        format!("{name}: {status}, not watched over {period}")
    };
    let colour = match summary.current_status {
        CurrentStatus::Up => "#1a7f37",
        CurrentStatus::Degraded => "#9a6700",
        CurrentStatus::Down => "#cf222e",
        CurrentStatus::Unknown => "#59636e",
    };
    let left = summary.service_name.chars().count() * CHARACTER + 12;
    let right = value.chars().count() * CHARACTER + 12;
    let (width, left_middle, right_middle) = (left + right, left / 2, left + right / 2);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{spoken}"><title>{spoken}</title><rect width="{left}" height="20" fill="#24292f"/><rect x="{left}" width="{right}" height="20" fill="{colour}"/><g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle" aria-hidden="true"><text x="{left_middle}" y="14">{name}</text><text x="{right_middle}" y="14">{value}</text></g></svg>"##
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(name: &str, coverage: f64) -> ServiceUptimeSummary {
        ServiceUptimeSummary {
            service_name: name.to_owned(),
            current_status: CurrentStatus::Degraded,
            uptime_percentage: 99.95,
            total_uptime: String::new(),
            total_downtime: String::new(),
            degraded_duration: 0,
            last_status_change: None,
            is_currently_up: true,
            coverage,
        }
    }

    #[test]
    fn a_badge_says_in_words_what_it_shows() {
        let badge = svg(&summary("http", 0.5), "1 day");
        assert!(badge.contains("<title>http: degraded, 99.95% uptime over 1 day</title>"), "{badge}");
        assert!(badge.contains(">degraded 99.95%</text>"), "{badge}");
        let badge = svg(&summary("http", 0.0), "1 day");
        assert!(badge.contains("<title>http: degraded, not watched over 1 day</title>"), "{badge}");
    }

    #[test]
    fn what_is_put_in_cannot_become_markup() {
        let badge = svg(&summary("<a b=\"&\">", 0.5), "1 day");
        assert!(badge.contains("&lt;a b=&quot;&amp;&quot;&gt;: degraded"), "{badge}");
        assert!(!badge.contains("<a "), "{badge}");
    }
}
