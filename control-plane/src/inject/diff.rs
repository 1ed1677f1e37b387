//! The strategic patch that leads from one pod to another: what undoes an injection.

use serde_json::{Map, Value, json};

use super::merge::{ELEMENT_ORDER, identity, key_of};

/// A patch with which [`super::merge::merge`] makes `to` of `from`; none when they are the same. Null counts as
/// absence, as it does for the API server, and so does a mapping or list that is empty: what is in `from` alone is
/// removed piece by piece, so that what others put beside it later stays.
#[must_use]
pub(super) fn diff(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut changes = Map::new();
    for (key, old) in old.iter().filter(|(key, old)| absent(new.get(*key)) && !old.is_null()) {
        let empty = match old {
            Value::Object(_) => json!({}),
            Value::Array(items) if identities(key_of(key), items).is_some_and(|all| !all.is_empty()) => {
                json!([])
            }
            _ => Value::Null,
        };
        match empty {
            Value::Null => drop(changes.insert(key.clone(), Value::Null)),
            empty => field(key, old, &empty, &mut changes),
        }
    }
    for (key, new) in new.iter().filter(|(_, new)| !new.is_null()) {
        match old.get(key) {
            Some(old) if !old.is_null() => field(key, old, new, &mut changes),
            _ => drop(changes.insert(key.clone(), new.clone())),
        }
    }
    (!changes.is_empty()).then_some(Value::Object(changes))
}

fn absent(value: Option<&Value>) -> bool {
    value.is_none_or(Value::is_null)
}

/// The change of one field.
fn field(key: &str, old: &Value, new: &Value, changes: &mut Map<String, Value>) {
    let (Value::Array(old_items), Value::Array(new_items)) = (old, new) else {
        if let Some(change) = diff(old, new) {
            changes.insert(key.to_owned(), change);
        }
        return;
    };
    let keys = key_of(key);
    if keys.is_empty() {
        if old != new {
            changes.insert(key.to_owned(), new.clone());
        }
        return;
    }
    let (Some(before), Some(after)) = (identities(keys, old_items), identities(keys, new_items)) else {
        if old != new {
            let replace = std::iter::once(json!({"$patch": "replace"}));
            changes.insert(key.to_owned(), replace.chain(new_items.iter().cloned()).collect());
        }
        return;
    };
    let mut items = Vec::new();
    let mut order: Vec<&Vec<Value>> = Vec::new();
    for (identity, item) in before.iter().zip(old_items) {
        let Some(place) = after.iter().position(|other| other == identity) else {
            let mut deleted = named(keys, item);
            deleted.insert("$patch".to_owned(), json!("delete"));
            items.push(Value::Object(deleted));
            continue;
        };
        order.push(identity);
        if let Some(Value::Object(change)) = diff(item, &new_items[place]) {
            let mut changed = named(keys, &new_items[place]);
            changed.extend(change);
            items.push(Value::Object(changed));
        }
    }
    for (identity, item) in after.iter().zip(new_items).filter(|(identity, _)| !before.contains(identity)) {
        order.push(identity);
        items.push(item.clone());
    }
    if order.iter().copied().ne(&after) {
        let wanted: Value = new_items.iter().map(|item| Value::Object(named(keys, item))).collect();
        changes.insert(format!("{ELEMENT_ORDER}{key}"), wanted);
    }
    if !items.is_empty() {
        changes.insert(key.to_owned(), Value::Array(items));
    }
}

/// The item's key alone.
fn named(keys: &[&str], item: &Value) -> Map<String, Value> {
    keys.iter().filter_map(|key| Some(((*key).to_owned(), item.get(*key)?.clone()))).collect()
}

/// What tells the items apart; none when that does not.
fn identities(keys: &[&str], items: &[Value]) -> Option<Vec<Vec<Value>>> {
    if keys.is_empty() {
        return None;
    }
    let all: Vec<_> = items.iter().map(|item| identity(keys, item)).collect::<Option<_>>()?;
    let unique = all.iter().enumerate().all(|(index, one)| !all[..index].contains(one));
    unique.then_some(all)
}
