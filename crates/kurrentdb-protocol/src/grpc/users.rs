//! `users.Users`: the calls, each parsed and handed to who keeps the accounts.

use super::{
    Services,
    proto::event_store::client::users::{
        ChangePasswordReq, ChangePasswordResp, CreateReq, CreateResp, DeleteReq, DeleteResp, DetailsReq,
        DetailsResp, DisableReq, DisableResp, EnableReq, EnableResp, ResetPasswordReq, ResetPasswordResp,
        UpdateReq, UpdateResp,
        details_resp::{UserDetails as WireDetails, user_details::DateTime},
        users_server::Users,
    },
    status,
};
use crate::{NewUser, UserDetails, UserError};
use futures::{StreamExt as _, stream, stream::BoxStream};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// What was asked, or that nothing was.
fn asked<T>(options: Option<T>) -> Result<T, Status> {
    options.ok_or_else(|| status::invalid("the request has no options"))
}

impl Services {
    fn users(&self) -> Result<Arc<dyn crate::Users>, Status> {
        if *self.closing.borrow() {
            return Err(status::closing());
        }
        self.options.users.clone().ok_or_else(|| Status::unimplemented("this node keeps no accounts"))
    }
}

/// Parses a call, hands it on, and answers it.
macro_rules! done {
    ($services:ident, $request:ident, |$users:ident, $by:ident, $options:ident| $deed:expr, $answer:expr) => {{
        let $users = $services.users()?;
        let $by = Services::visitor(&$request);
        let $options = asked($request.into_inner().options)?;
        $deed.await.map_err(failed)?;
        Ok(Response::new($answer))
    }};
}

#[tonic::async_trait]
impl Users for Services {
    type DetailsStream = BoxStream<'static, Result<DetailsResp, Status>>;

    async fn create(&self, request: Request<CreateReq>) -> Result<Response<CreateResp>, Status> {
        done!(
            self,
            request,
            |users, by, o| {
                let (login_name, password) = (o.login_name, o.password.into());
                users.create(&by, NewUser { login_name, password, full_name: o.full_name, groups: o.groups })
            },
            CreateResp {}
        )
    }

    async fn update(&self, request: Request<UpdateReq>) -> Result<Response<UpdateResp>, Status> {
        done!(
            self,
            request,
            |users, by, o| {
                let (login_name, password) = (o.login_name, o.password.into());
                users.update(&by, NewUser { login_name, password, full_name: o.full_name, groups: o.groups })
            },
            UpdateResp {}
        )
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        done!(self, request, |users, by, o| users.delete(&by, &o.login_name), DeleteResp {})
    }

    async fn disable(&self, request: Request<DisableReq>) -> Result<Response<DisableResp>, Status> {
        done!(self, request, |users, by, o| users.set_enabled(&by, &o.login_name, false), DisableResp {})
    }

    async fn enable(&self, request: Request<EnableReq>) -> Result<Response<EnableResp>, Status> {
        done!(self, request, |users, by, o| users.set_enabled(&by, &o.login_name, true), EnableResp {})
    }

    async fn details(&self, request: Request<DetailsReq>) -> Result<Response<Self::DetailsStream>, Status> {
        let users = self.users()?;
        let by = Self::visitor(&request);
        let name =
            request.into_inner().options.map(|options| options.login_name).filter(|name| !name.is_empty());
        let found = users.details(&by, name.as_deref()).await.map_err(failed)?;
        Ok(Response::new(stream::iter(found.into_iter().map(|user| Ok(told(user)))).boxed()))
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordReq>,
    ) -> Result<Response<ChangePasswordResp>, Status> {
        done!(
            self,
            request,
            |users, by, o| users.change_password(
                &by,
                &o.login_name,
                o.current_password.into(),
                o.new_password.into()
            ),
            ChangePasswordResp {}
        )
    }

    async fn reset_password(
        &self,
        request: Request<ResetPasswordReq>,
    ) -> Result<Response<ResetPasswordResp>, Status> {
        done!(
            self,
            request,
            |users, by, o| users.reset_password(&by, &o.login_name, o.new_password.into()),
            ResetPasswordResp {}
        )
    }
}

fn told(user: UserDetails) -> DetailsResp {
    let details = WireDetails {
        login_name: user.login_name,
        full_name: user.full_name,
        groups: user.groups,
        last_updated: Some(DateTime { ticks_since_epoch: user.last_updated.ticks() }),
        disabled: user.disabled,
    };
    DetailsResp { user_details: Some(details) }
}

fn failed(error: UserError) -> Status {
    match error {
        UserError::NotFound(name) => status::user_not_found(&name),
        UserError::Conflict(name) => status::user_conflict(&name),
        UserError::Refused(code, message) => status::refused_with(code, message),
    }
}
