//! A hosted server, from the registry's form to its report and back.

use std::sync::Arc;

use crate::model::{NameError, Replica, Selection, ServerName};

use super::messages::{SelectionReport, ServerReport};
use super::state_report::StateReport;

impl ServerReport {
    /// The full report of a replica.
    #[must_use]
    pub fn of(server: &ServerName, replica: &Replica) -> Self {
        Self::Full {
            name: server.to_string(),
            weight: replica.weight,
            digest: replica.digest.as_deref().map(str::to_owned),
            passthrough: replica.passthrough.iter().map(|name| name.to_string()).collect(),
            ends_when_lost: replica.ends_when_lost,
            selection: replica.selection.as_deref().map(SelectionReport::from),
            state: replica.state.as_deref().map(|state| Box::new(StateReport::from(state))),
        }
    }

    /// The replica that is reported, its weight clamped to 1..=1000.
    ///
    /// # Errors
    /// If the server's name is invalid.
    pub fn replica(self) -> Result<(ServerName, Replica), NameError> {
        let (name, replica) = match self {
            Self::Name(name) => (name, Replica::of_weight(1)),
            Self::Full { name, weight, digest, passthrough, ends_when_lost, selection, state } => {
                let selection = selection.map(Selection::from).filter(|said| !said.is_empty());
                let replica = Replica {
                    weight: weight.clamp(1, 1000),
                    digest: digest.map(Into::into),
                    passthrough: passthrough.into_iter().map(Into::into).collect(),
                    ends_when_lost,
                    selection: selection.map(Arc::new),
                    state: state.map(|state| Arc::new((*state).into())),
                };
                (name, replica)
            }
        };
        Ok((ServerName::parse(&name)?, replica))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Choice;

    #[test]
    fn a_report_says_all_that_is_known_of_a_replica() {
        let server = ServerName::parse("a").unwrap();
        let hidden = Choice { enabled: false, description: Some("none".into()) };
        let selection =
            Selection { tools: [("x".to_owned(), hidden)].into(), ..Selection::default() };
        let replica = Replica {
            weight: 3,
            digest: Some("d".into()),
            passthrough: vec!["x-a".into()],
            ends_when_lost: true,
            selection: Some(Arc::new(selection)),
            state: None,
        };
        let text = serde_json::to_string(&ServerReport::of(&server, &replica)).unwrap();
        let read: ServerReport = serde_json::from_str(&text).unwrap();
        assert_eq!(read.replica(), Ok((server, replica)));
    }
}
