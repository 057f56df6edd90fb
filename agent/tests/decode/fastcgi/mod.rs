//! FastCGI: records as web servers and php-fpm send them in, exchanges out.

mod cases;
mod losses;
mod properties;
mod records;
