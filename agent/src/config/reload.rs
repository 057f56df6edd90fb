//! The configuration while the agent runs: looked at each second, by its content, because a ConfigMap's file is a link that
//! is replaced. In: the file and the files that it names (certificates, keys, headers, offsets). Out: a new configuration, or what
//! is wrong with it. Touches those files.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Config, ConfigErrors, RawConfig};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// How often files that change while they are read are read again at once; then at the next look.
const LOADS_MAX: usize = 8;

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    pub flags: RawConfig,
}

/// Gives a configuration whenever one of its files has another content; stops when it is dropped.
pub struct Reloads {
    news: mpsc::Receiver<Result<Config, ConfigErrors>>,
    task: JoinHandle<()>,
}

impl Sources {
    /// Reads everything.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        let variable = |name: &str| std::env::var(name).ok();
        self.settled(|| Config::load(self.file.as_deref(), variable, self.flags.clone()))
    }

    /// Loads until the files are the same before and after.
    fn settled(
        &self,
        mut load: impl FnMut() -> Result<Config, ConfigErrors>,
    ) -> Result<Config, ConfigErrors> {
        let mut looked_at: Vec<PathBuf> = self.file.iter().cloned().collect();
        let mut loads = 0;
        loop {
            let before = content(&looked_at);
            let mut config = load()?;
            loads += 1;
            let files = files(self, &config);
            let is_settled = files == looked_at && content(&files) == before;
            if is_settled || loads == LOADS_MAX {
                // That of before: what is not settled is seen at the next look.
                config.content = before;
                return Ok(config);
            }
            looked_at = files;
        }
    }
}

impl Reloads {
    /// Looks at the files of a configuration that was loaded. Must be called inside a tokio runtime.
    pub fn watch(sources: Sources, config: &Config) -> Self {
        let (sender, news) = mpsc::channel(1);
        let files = files(&sources, config);
        Self {
            news,
            task: tokio::spawn(watch(sources, files, config.content, sender)),
        }
    }

    /// The next one.
    pub async fn next(&mut self) -> Result<Config, ConfigErrors> {
        match self.news.recv().await {
            Some(news) => news,
            // Its task ends only with it.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Reloads {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(
    sources: Sources,
    mut files: Vec<PathBuf>,
    mut seen: u64,
    sender: mpsc::Sender<Result<Config, ConfigErrors>>,
) {
    // What was wrong with the last one. It may be a file that it names, which comes later.
    let mut fault: Option<String> = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let (looked_at, content) = off_the_loop(files, |files| self::content(files)).await;
        files = looked_at;
        if content == seen && fault.is_none() {
            continue;
        }
        let (_, loaded) = off_the_loop(sources.clone(), Sources::load).await;
        let is_seen = std::mem::replace(&mut seen, content) == content;
        if let Ok(config) = &loaded {
            files = self::files(&sources, config);
            seen = config.content;
        }
        let before = fault.take();
        fault = loaded.as_ref().err().map(ConfigErrors::to_string);
        if is_seen && fault.is_some() && fault == before {
            continue;
        }
        if sender.send(loaded).await.is_err() {
            return;
        }
    }
}

/// Files may be on a disk that is slow.
async fn off_the_loop<T: Send + 'static, R: Send + 'static>(
    thing: T,
    work: impl FnOnce(&T) -> R + Send + 'static,
) -> (T, R) {
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&thing);
        (thing, result)
    });
    match done.await {
        Ok(done) => done,
        // The runtime is ending: nobody waits for it.
        Err(_) => std::future::pending().await,
    }
}

fn files(sources: &Sources, config: &Config) -> Vec<PathBuf> {
    let own = sources.file.iter().cloned();
    own.chain(config.files.iter().cloned()).collect()
}

fn content(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        read(file).hash(&mut hasher);
    }
    hasher.finish()
}

fn read(file: &Path) -> Option<Vec<u8>> {
    std::fs::read(file).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("spanlet-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn watched(file: &Path) -> Reloads {
        let sources = Sources {
            file: Some(file.to_owned()),
            flags: RawConfig::default(),
        };
        let config = sources.load().unwrap();
        Reloads::watch(sources, &config)
    }

    #[tokio::test(start_paused = true)]
    async fn another_content_is_told_and_a_fault_too() {
        let folder = Folder::new("reload");
        let file = folder.write("spanlet.toml", "[select]\nall = true\n");
        let mut reloads = watched(&file);
        let unchanged = tokio::time::timeout(EVERY * 5, reloads.next()).await;
        assert!(unchanged.is_err(), "the same content is no news");
        fs::write(&file, "query = \"drop\"\n[select]\nall = true\n").unwrap();
        let config = reloads.next().await.unwrap();
        assert_eq!(config.query, super::super::Query::Drop);
        fs::write(&file, "query = \"keap\"\n").unwrap();
        let faults = reloads.next().await.unwrap_err();
        assert!(faults.to_string().contains("query"), "{faults}");
        fs::write(&file, "[select]\nall = true\n").unwrap();
        assert!(reloads.next().await.is_ok(), "put right");
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_between_the_load_and_the_first_look_is_told() {
        let folder = Folder::new("reload-early");
        let file = folder.write("spanlet.toml", "[select]\nall = true\n");
        let sources = Sources {
            file: Some(file.clone()),
            flags: RawConfig::default(),
        };
        let config = sources.load().unwrap();
        fs::write(&file, "query = \"drop\"\n[select]\nall = true\n").unwrap();
        let mut reloads = Reloads::watch(sources, &config);
        assert!(reloads.next().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_it_names_may_come_later() {
        let folder = Folder::new("reload-later");
        let headers = folder.0.join("headers");
        let file = folder.write("spanlet.toml", "[select]\nall = true\n");
        let mut reloads = watched(&file);
        let text = format!(
            "[select]\nall = true\n[otlp]\nendpoint = \"http://localhost:4318\"\nheaders_file = {headers:?}\n"
        );
        fs::write(&file, text).unwrap();
        assert!(reloads.next().await.is_err());
        let again = tokio::time::timeout(EVERY * 5, reloads.next()).await;
        assert!(again.is_err(), "it is told once");
        fs::write(&headers, "x-token=new\n").unwrap();
        assert!(reloads.next().await.is_ok());
    }

    #[test]
    fn what_changes_while_it_is_loaded_is_loaded_again() {
        let folder = Folder::new("reload-torn");
        let file = folder.write("spanlet.toml", "[select]\nall = true\n");
        let sources = Sources {
            file: Some(file.clone()),
            flags: RawConfig::default(),
        };
        let mut loads = 0;
        let config = sources.settled(|| {
            loads += 1;
            let config = Config::load(Some(&file), |_| None, RawConfig::default());
            if loads == 1 {
                fs::write(&file, "query = \"drop\"\n[select]\nall = true\n").unwrap();
            }
            config
        });
        assert_eq!(config.unwrap().query, super::super::Query::Drop);
        assert_eq!(loads, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_files_that_it_names_are_looked_at_too() {
        let folder = Folder::new("reload-named");
        let headers = folder.write("headers", "x-token=old\n");
        let text = format!(
            "[select]\nall = true\n[otlp]\nendpoint = \"http://localhost:4318\"\nheaders_file = {headers:?}\n"
        );
        let file = folder.write("spanlet.toml", &text);
        let mut reloads = watched(&file);
        let unchanged = tokio::time::timeout(EVERY * 5, reloads.next()).await;
        assert!(unchanged.is_err());
        fs::write(&headers, "x-token=new\n").unwrap();
        let config = reloads.next().await.unwrap();
        let target = config.export.otlp.unwrap();
        assert_eq!(target.headers[0].1, "new");
    }
}
