//! Tracing of listener calls (`ConsumeMessageTraceHookImpl`).

use tokio::time::Instant;

use crate::Delivery;
use crate::consumer::core::Core;
use crate::trace::record::ContextCode;

impl Core {
    /// Makes a listener call, and traces it if messages are traced. An error is a panic.
    pub(crate) async fn traced<T, E>(
        &self,
        delivery: &Delivery,
        call: impl Future<Output = Result<T, E>>,
        is_success: impl Fn(&T) -> bool,
    ) -> Result<T, E> {
        let Some(tracer) = &self.tracer else {
            return call.await;
        };
        let begin = Instant::now();
        let consumption = tracer.consuming(&self.config.group, delivery);
        let result = call.await;
        if let Some(consumption) = consumption {
            let code = match &result {
                Err(_) => ContextCode::Exception,
                Ok(_) if begin.elapsed() >= self.config.consume_timeout => ContextCode::TimeOut,
                Ok(status) if is_success(status) => ContextCode::Success,
                Ok(_) => ContextCode::Failed,
            };
            tracer.consumed(consumption, code);
        }
        result
    }
}
