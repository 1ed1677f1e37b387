//! Access logs of a bootstrap: files and standard streams
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>).

use serde_json::{Map, Number, Value};
use weft_proto::xds::access_loggers::file::FileAccessLog;
use weft_proto::xds::access_loggers::file::file_access_log::AccessLogFormat as FileFormat;
use weft_proto::xds::access_loggers::stream::StdoutAccessLog;
use weft_proto::xds::access_loggers::stream::stdout_access_log::AccessLogFormat as StdoutFormat;
use weft_proto::xds::accesslog as pb;
use weft_proto::xds::core::substitution_format_string::Format;
use weft_proto::xds::core::{SubstitutionFormatString, data_source::Specifier};
use weft_proto::xds::protobuf::{self, value::Kind};

use super::reader::{Reader, fields};
use crate::bootstrap::{AccessLog, LogFormat};

/// Notes the logs of a listener. What a control plane says of logs is not looked at: where a sidecar logs is its own
/// setting.
pub(super) fn read(reader: &mut Reader, logs: Vec<pb::AccessLog>) {
    if !reader.is_of_bootstrap() {
        return;
    }
    let logs = reader.each("access_log", logs, |reader, log| {
        fields!(reader, log => pb::AccessLog { name, config_type; ignored: filter });
        let Some(pb::access_log::ConfigType::TypedConfig(any)) = config_type else {
            return reader.missing("typed_config");
        };
        reader.within("typed_config", |reader| match any.type_url.rsplit('.').next() {
            Some("FileAccessLog") => {
                let file: FileAccessLog = reader.unpack(&any)?;
                decode_file(reader, file)
            }
            Some("StdoutAccessLog") => {
                let stdout: StdoutAccessLog = reader.unpack(&any)?;
                let format = match stdout.access_log_format {
                    None => Some(LogFormat::Default),
                    Some(StdoutFormat::LogFormat(format)) => decode_format(reader, format),
                };
                Some(AccessLog { path: None, format: format? })
            }
            _ => {
                reader.note(format!("log `{name}` has no effect here"));
                None
            }
        })
    });
    reader.know_logs(logs);
}

fn decode_file(reader: &mut Reader, file: FileAccessLog) -> Option<AccessLog> {
    let path = reader.text("path", file.path);
    let format = match file.access_log_format {
        None => Some(LogFormat::Default),
        Some(FileFormat::Format(text)) => Some(LogFormat::Text(text)),
        Some(FileFormat::JsonFormat(fields) | FileFormat::TypedJsonFormat(fields)) => {
            Some(LogFormat::Json(object(fields)))
        }
        Some(FileFormat::LogFormat(format)) => decode_format(reader, format),
    };
    let path = path?;
    // Envoy's users write standard output so, too.
    let path = (&*path != "/dev/stdout").then(|| path.to_string().into());
    Some(AccessLog { path, format: format? })
}

fn decode_format(reader: &mut Reader, format: SubstitutionFormatString) -> Option<LogFormat> {
    reader.within("log_format", |reader| {
        fields!(reader, format => SubstitutionFormatString {
            format; ignored: omit_empty_values, content_type, json_format_options; refused: formatters
        });
        match format {
            None => Some(LogFormat::Default),
            Some(Format::TextFormat(text)) => Some(LogFormat::Text(text)),
            Some(Format::JsonFormat(fields)) => Some(LogFormat::Json(object(fields))),
            Some(Format::TextFormatSource(source)) => match source.specifier {
                Some(Specifier::InlineString(text)) => Some(LogFormat::Text(text)),
                _ => reader.refuse_at("text_format_source", "is not supported: only an inline_string"),
            },
        }
    })
}

/// Sorted, as Envoy writes them.
fn object(fields: protobuf::Struct) -> Value {
    let mut fields: Vec<_> = fields.fields.into_iter().collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(fields.into_iter().map(|(key, value)| (key, json(value))).collect::<Map<_, _>>())
}

fn json(value: protobuf::Value) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::NumberValue(number)) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(json).collect()),
        Some(Kind::StructValue(fields)) => object(fields),
    }
}
